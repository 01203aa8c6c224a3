import GraftNetworks
import GraftSupport

/// A network's running statistics and batch counters, which a forward pass in training changes: as
/// they were before a step, for a step that fails after its forward pass.
final class RunningStatistics {
  private let pairs: [(here: UnsafeMutableRawPointer, kept: Buffer<UInt8>)]

  /// - Parameter network: finished; to be held by the caller.
  init(network: Network) throws(GraftError) {
    var pairs: [(here: UnsafeMutableRawPointer, kept: Buffer<UInt8>)] = []
    for tensor in network.tensors where !tensor.isParameter {
      let view = try tensor.view
      guard let data = view.data else { continue }
      let size = view.count * view.type.size
      pairs.append((data, try Buffer(count: size, for: "a copy of \(view.name)")))
    }
    self.pairs = pairs
  }

  func keep() {
    for (here, kept) in pairs {
      UnsafeMutableRawPointer(kept.pointer).copyMemory(from: here, byteCount: kept.count)
    }
  }

  func restore() {
    for (here, kept) in pairs {
      here.copyMemory(from: UnsafeRawPointer(kept.pointer), byteCount: kept.count)
    }
  }
}
