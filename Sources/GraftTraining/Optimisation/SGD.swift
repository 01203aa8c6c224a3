import GraftKernels
import GraftNetworks
import GraftSupport

/// Stochastic gradient descent with momentum and weight decay, as torch.optim.SGD computes it:
/// d = gradient + weightDecay w; m = momentum m + d (d itself in the first step);
/// w -= learningRate m, with Nesterov w -= learningRate (d + momentum m). Before that, where
/// `clipNorm` is set, the gradients are scaled as torch.nn.utils.clip_grad_norm_ does.
public final class SGD {
  /// What does not change from step to step.
  public struct Settings: Equatable, Sendable {
    public var momentum = 0.9
    public var weightDecay = 5e-4
    public var nesterov = false
    /// Spares batch norms' scales and shifts, and biases, the decay: only the weights of
    /// convolutions and linear layers shrink.
    public var decaysWeightsOnly = false
    /// The greatest l2 norm that all gradients together may have; longer ones are scaled to it.
    /// Infinity measures and does not clip; 0 does neither.
    public var clipNorm = 0.0
    public init() {}

    public func check() throws(GraftError) {
      guard momentum.isFinite, momentum >= 0, momentum < 1 else {
        throw GraftError(
          .invalidArgument, "momentum is \(momentum); allowed are 0 to 1, 1 excluded")
      }
      try SGD.check(weightDecay, "weight_decay")
      guard clipNorm >= 0 else {
        throw GraftError(
          .invalidArgument, "clip_norm is \(clipNorm); it must be at least 0, or infinite")
      }
      guard !nesterov || momentum > 0 else {
        throw GraftError(.invalidArgument, "nesterov is 1; it needs a momentum above 0")
      }
    }
  }

  public let network: Network
  public let settings: Settings
  public var learningRate: Double
  /// Steps done; the first one starts the momentum.
  public internal(set) var steps = 0
  /// The l2 norm of all gradients in the last step, before clipping; NaN where it is not measured.
  public private(set) var gradientNorm = Double.nan
  /// The momentum of each tensor of the network; empty for buffers.
  private let momentum: [Buffer<Float>]
  /// Of the gradients' norm; empty where it is not measured.
  private let partialSums: Buffer<Double>

  public init(network: Network, settings: Settings, learningRate: Double) throws(GraftError) {
    try settings.check()
    try SGD.check(learningRate, "learning_rate")
    self.network = network
    self.settings = settings
    self.learningRate = learningRate
    var momentum: [Buffer<Float>] = []
    for tensor in network.tensors {
      momentum.append(
        try Buffer(
          count: tensor.isParameter ? tensor.count : 0, for: "the momentum of \(tensor.name)"))
    }
    self.momentum = momentum
    let largest = network.tensors.map(\.count).max() ?? 0
    partialSums = try Buffer(
      count: settings.clipNorm > 0 ? Int(gk_square_tiles(Int64(largest))) : 0,
      for: "the gradients' norm")
  }

  /// Checks a number that weights are multiplied by: as float32 it must be finite, too, or every
  /// weight would be infinite after a step.
  public static func check(_ value: Double, _ name: String) throws(GraftError) {
    let allowed = 0...Double(Float.greatestFiniteMagnitude)
    guard allowed.contains(value) else {
      throw GraftError(
        .invalidArgument, "\(name) is \(value); allowed are 0 to \(allowed.upperBound)")
    }
  }

  /// One step with the gradients of the last backward pass, which stay what they are.
  ///
  /// - Throws: `.notFinite` where the gradients' norm is measured and is not; nothing has changed
  ///   then.
  public func step() throws(GraftError) {
    guard network.hasGradients else {
      throw GraftError(.invalidState, "a step needs a backward pass before it")
    }
    let scale = try clip()
    let decay = Float(settings.weightDecay)
    var kernel = gk_sgd_settings(
      rate: Float(learningRate), momentum: Float(settings.momentum), decay: decay,
      scale: Float(scale), nesterov: settings.nesterov ? 1 : 0, first: steps == 0 ? 1 : 0)
    for (tensor, momentum) in zip(network.tensors, momentum) {
      guard let (values, gradient) = tensor.parameter else { continue }
      kernel.decay = settings.decaysWeightsOnly && tensor.kind != .weight ? 0 : decay
      gk_sgd(
        Int32(clamping: network.threads), &kernel, values, gradient, momentum.pointer,
        Int64(tensor.count))
    }
    steps += 1
  }

  /// Measures the gradients and gives the factor that they are to be scaled by.
  private func clip() throws(GraftError) -> Double {
    guard settings.clipNorm > 0 else { return 1 }
    var sum = 0.0
    for tensor in network.tensors {
      guard let (_, gradient) = tensor.parameter else { continue }
      sum += gk_square_sum(
        Int32(clamping: network.threads), gradient, Int64(tensor.count), partialSums.pointer)
    }
    let norm = sum.squareRoot()
    guard norm.isFinite else {
      throw GraftError(.notFinite, "the gradients' norm is \(norm)")
    }
    gradientNorm = norm
    return min(1, settings.clipNorm / (norm + 1e-6))
  }

  /// Whether the last step's gradients were longer than allowed.
  public var isClipped: Bool { settings.clipNorm / (gradientNorm + 1e-6) < 1 }

  /// A tensor's momentum in place; nil for a buffer.
  public func momentumView(_ index: Int) throws(GraftError) -> TensorView? {
    let tensor = network.tensors[index]
    guard tensor.isParameter else { return nil }
    return try TensorView(
      name: tensor.name, data: momentum[index].pointer, type: .float32, shape: tensor.shape)
  }
}
