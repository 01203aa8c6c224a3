import GraftKernels
import GraftNetworks
import GraftSupport

/// An exponential moving average of a network's weights and running statistics, as
/// torch.optim.swa_utils.AveragedModel keeps it with get_ema_multi_avg_fn and use_buffers: the
/// first update copies, every other one moves the average by 1 - decay of the way to the weights.
/// (The batch norms' counters are the network's own.)
///
/// It follows the weights wherever they go: a graft moves them, not the average.
final class WeightAverage {
  /// When and how.
  struct Settings: Equatable {
    /// 0 to 1, 1 excluded.
    var decay = 0.999
    /// Steps between two updates.
    var every = 1

    func check() throws(GraftError) {
      guard decay > 0, decay < 1 else {
        throw GraftError(
          .invalidArgument,
          "ema_decay is \(decay); it must be 0, for no average, or above 0 and below 1")
      }
      guard every > 0 else {
        throw GraftError(.invalidArgument, "ema_every is \(every); it must be at least 1")
      }
    }
  }

  private let network: Network
  private let settings: Settings
  /// A tensor's numbers in the network, and its average; counters are left out.
  private let pairs: [(weights: UnsafeMutablePointer<Float>, average: Buffer<Float>)]
  /// The average as a state_dict.
  let tensors: [TensorView]

  /// - Parameter network: finished; held.
  init(network: Network, settings: Settings) throws(GraftError) {
    try settings.check()
    self.network = network
    self.settings = settings
    var pairs: [(weights: UnsafeMutablePointer<Float>, average: Buffer<Float>)] = []
    var tensors: [TensorView] = []
    for tensor in network.tensors {
      let view = try tensor.view
      guard view.type == .float32, let data = view.data else {
        tensors.append(view)
        continue
      }
      let average = try Buffer<Float>(count: view.count, for: "the average of \(view.name)")
      pairs.append((data.assumingMemoryBound(to: Float.self), average))
      tensors.append(
        try TensorView(
          name: view.name, data: average.pointer, type: .float32, shape: view.shape))
    }
    self.pairs = pairs
    self.tensors = tensors
    reset()
  }

  /// Sets it to the network's weights.
  func reset() {
    for (weights, average) in pairs {
      average.pointer.update(from: weights, count: average.count)
    }
  }

  /// Told after every step; `steps` counts them from 1.
  func step(_ steps: Int) {
    guard steps % settings.every == 0 else { return }
    if steps == settings.every { return reset() }
    for (weights, average) in pairs {
      gk_average(
        Int32(clamping: network.threads), average.pointer, weights, Float(1 - settings.decay),
        Int64(average.count))
    }
  }

  /// Runs `body` with the average in the network's place.
  func inPlace<Result>(_ body: () throws(GraftError) -> Result) throws(GraftError) -> Result {
    exchange()
    defer { exchange() }
    return try body()
  }

  private func exchange() {
    for (weights, average) in pairs {
      gk_swap(weights, average.pointer, Int64(average.count))
    }
  }

  /// Writes the average into a network of the same structure, which may be its own.
  func copy(into other: Network) throws(GraftError) {
    guard other.isFinished, other.hasSameTensors(as: network) else {
      throw GraftError(.shapeMismatch, "into is a network of another structure")
    }
    if other !== network { try other.copyWeights(from: network) }
    for (tensor, average) in zip(other.tensors, tensors) {
      guard average.type == .float32, let to = try tensor.view.data, let from = average.data else {
        continue
      }
      to.copyMemory(from: from, byteCount: average.count * MemoryLayout<Float>.size)
    }
  }
}
