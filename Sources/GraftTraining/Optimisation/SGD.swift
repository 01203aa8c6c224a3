import GraftKernels
import GraftNetworks
import GraftSupport

/// Stochastic gradient descent with momentum and weight decay, as torch.optim.SGD computes it:
/// d = gradient + weightDecay w; m = momentum m + d (d itself in the first step);
/// w -= learningRate m, with Nesterov w -= learningRate (d + momentum m).
public final class SGD {
  /// What does not change from step to step.
  public struct Settings: Equatable, Sendable {
    public var momentum = 0.9
    public var weightDecay = 5e-4
    public var nesterov = false
    public init() {}

    public func check() throws(GraftError) {
      guard momentum.isFinite, momentum >= 0, momentum < 1 else {
        throw GraftError(
          .invalidArgument, "momentum is \(momentum); allowed are 0 to 1, 1 excluded")
      }
      guard weightDecay.isFinite, weightDecay >= 0 else {
        throw GraftError(
          .invalidArgument, "weight_decay is \(weightDecay); it must be finite and at least 0")
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
  /// The momentum of each tensor of the network; empty for buffers.
  private let momentum: [Buffer<Float>]

  public init(network: Network, settings: Settings, learningRate: Double) throws(GraftError) {
    try settings.check()
    guard learningRate.isFinite, learningRate >= 0 else {
      throw GraftError(
        .invalidArgument, "learning_rate is \(learningRate); it must be finite and at least 0")
    }
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
  }

  /// One step with the gradients of the last backward pass.
  public func step() throws(GraftError) {
    guard network.hasGradients else {
      throw GraftError(.invalidState, "a step needs a backward pass before it")
    }
    var kernel = gk_sgd_settings(
      rate: Float(learningRate), momentum: Float(settings.momentum),
      decay: Float(settings.weightDecay), nesterov: settings.nesterov ? 1 : 0,
      first: steps == 0 ? 1 : 0)
    for (tensor, momentum) in zip(network.tensors, momentum) {
      guard let (values, gradient) = tensor.parameter else { continue }
      gk_sgd(
        Int32(clamping: network.threads), &kernel, values, gradient, momentum.pointer,
        Int64(tensor.count))
    }
    steps += 1
  }

  /// A tensor's momentum in place; nil for a buffer.
  public func momentumView(_ index: Int) throws(GraftError) -> TensorView? {
    let tensor = network.tensors[index]
    guard tensor.isParameter else { return nil }
    return try TensorView(
      name: tensor.name, data: momentum[index].pointer, type: .float32, shape: tensor.shape)
  }
}
