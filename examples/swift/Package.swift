// swift-tools-version: 6.0
import PackageDescription

let package = Package(
  name: "Example",
  dependencies: [.package(name: "Graft", path: "../..")],
  targets: [
    .executableTarget(
      name: "Start", dependencies: [.product(name: "Graft", package: "Graft")]),
    .executableTarget(
      name: "Engine", dependencies: [.product(name: "Graft", package: "Graft")]),
    .executableTarget(
      name: "Example", dependencies: [.product(name: "Graft", package: "Graft")]),
  ]
)
