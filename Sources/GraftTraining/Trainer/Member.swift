import GraftNetworks
import GraftSupport

/// A network in training, with what is its own.
public final class Member {
  public let network: Network
  /// Decides data order, crops and flips.
  public let seed: UInt64
  /// The schedule's start.
  public let learningRate: Double
  let optimiser: SGD
  /// The batch at hand.
  let labels: Buffer<Int64>
  /// The gradient of the batch's logits.
  let gradient: Buffer<Float>
  /// The epoch's order, made when the epoch begins or is resumed.
  var order: EpochOrder?
  var sums = EpochSums()

  init(
    network: Network, seed: UInt64, learningRate: Double, settings: SGD.Settings, batchSize: Int
  ) throws(GraftError) {
    guard learningRate.isFinite, learningRate > 0 else {
      throw GraftError(
        .invalidArgument, "learning_rate is \(learningRate); it must be finite and above 0")
    }
    self.network = network
    self.seed = seed
    self.learningRate = learningRate
    optimiser = try SGD(network: network, settings: settings, learningRate: learningRate)
    labels = try Buffer(count: batchSize, for: "a batch's labels")
    gradient = try Buffer(
      count: batchSize * (try network.outputShape.channels), for: "a batch's logits")
  }
}

/// What an epoch's training has added up so far.
struct EpochSums: Equatable {
  var loss = 0.0
  var correct = 0
  var images = 0
}
