// swift-tools-version: 6.0
// Graft: filter grafting as an embeddable library.
//
// `make build` builds libgraft.so from the product "graft" with the flags that a self-contained
// library needs (Makefile). A plain `swift build` works too: the kernels then run on one thread,
// to the same bits.
import PackageDescription

// @implementation holds every exported function against its C declaration. Swift before 6.3
// (Debian's own package among them) has it as an experimental feature of the same meaning.
#if compiler(>=6.3)
  let heldAgainstC: [SwiftSetting] = []
#else
  let heldAgainstC: [SwiftSetting] = [
    .enableExperimentalFeature("CImplementation"),
    .unsafeFlags(["-import-objc-header", "\(Context.packageDirectory)/Include/graft.h"]),
  ]
#endif

let package = Package(
  name: "Graft",
  products: [
    .library(name: "Graft", targets: ["Graft"]),
    .library(name: "graft", type: .dynamic, targets: ["GraftInterface"]),
  ],
  targets: [
    // The C contract, and what we use of C libraries.
    .systemLibrary(name: "CGraft", path: "Include"),
    // (No pkgConfig: its -L would come before the Makefile's, which picks static libraries.)
    .systemLibrary(name: "CJSON", path: "Sources/CJSON", providers: [.apt(["libjson-c-dev"])]),
    .systemLibrary(name: "CZlib", path: "Sources/CZlib", providers: [.apt(["zlib1g-dev"])]),
    .target(
      name: "GraftKernels",
      linkerSettings: [.linkedLibrary("openblas"), .linkedLibrary("omp5"), .linkedLibrary("m")]),
    // Each may import those above it.
    .target(name: "GraftSupport", dependencies: ["GraftKernels"]),
    .target(name: "Grafting", dependencies: ["GraftSupport", "GraftKernels"]),
    .target(name: "GraftNetworks", dependencies: ["Grafting", "GraftSupport", "GraftKernels"]),
    .target(
      name: "GraftTraining",
      dependencies: ["GraftNetworks", "Grafting", "GraftSupport", "GraftKernels", "CJSON", "CZlib"]),
    .target(
      name: "Graft",
      dependencies: ["GraftTraining", "GraftNetworks", "Grafting", "GraftSupport"]),
    .target(
      name: "GraftInterface",
      dependencies: [
        "CGraft", "GraftTraining", "GraftNetworks", "Grafting", "GraftSupport", "GraftKernels",
      ],
      exclude: ["exports.map"],
      swiftSettings: heldAgainstC),
    .testTarget(
      name: "GraftTests",
      dependencies: ["Graft", "GraftTraining", "GraftNetworks", "Grafting", "GraftSupport"]),
  ],
  swiftLanguageModes: [.v5]
)
