import GraftNetworks
import GraftSupport
import Grafting

/// What is a network's own in training. Networks that differ in it stay more diverse, which is what
/// grafting lives on.
public struct MemberSettings: Equatable, Sendable {
  /// Decides data order and augmentation.
  public var seed: UInt64 = 0
  /// The schedule's start.
  public var learningRate = 0.1
  // Where nil, the trainer's.
  public var weightDecay: Double?
  public var decaysWeightsOnly: Bool?
  public var labelSmoothing: Double?
  public var augmentation: Augmentation?

  public init() {}

  func check() throws(GraftError) {
    guard learningRate != 0 else {
      throw GraftError(.invalidArgument, "learning_rate is 0; it must be above 0")
    }
    try SGD.check(learningRate, "learning_rate")
    if let labelSmoothing, !(labelSmoothing >= 0 && labelSmoothing <= 1) {
      throw GraftError(
        .invalidArgument, "label_smoothing is \(labelSmoothing); allowed are 0 to 1")
    }
    try augmentation?.check()
  }
}

/// A network in training, with what is its own.
public final class Member {
  public let network: Network
  public let settings: MemberSettings
  let augmentation: Augmentation
  let distillation: Distillation
  let optimiser: SGD
  /// The moving average of the weights, where one is kept.
  let average: WeightAverage?
  /// As they were before the step at hand.
  let statistics: RunningStatistics
  /// Whether it has taken the step at hand, which another network failed to take.
  var isAhead = false
  /// The batch at hand.
  let labels: Buffer<Int64>
  private let others: Buffer<Int64>
  private let shares: Buffer<Double>
  /// The gradient of the batch's logits.
  let gradient: Buffer<Float>
  /// The epoch's order, made when the epoch begins or is resumed.
  var order: EpochOrder?
  var sums = EpochSums()

  init(network: Network, settings: MemberSettings, in trainer: TrainerSettings)
    throws(GraftError)
  {
    try settings.check()
    self.network = network
    self.settings = settings
    augmentation = settings.augmentation ?? trainer.augmentation
    var distillation = trainer.distillation
    distillation.labelSmoothing = settings.labelSmoothing ?? distillation.labelSmoothing
    self.distillation = distillation
    var sgd = trainer.sgd
    sgd.weightDecay = settings.weightDecay ?? sgd.weightDecay
    sgd.decaysWeightsOnly = settings.decaysWeightsOnly ?? sgd.decaysWeightsOnly
    optimiser = try SGD(network: network, settings: sgd, learningRate: settings.learningRate)
    average = try trainer.average.map { (average) throws(GraftError) in
      try WeightAverage(network: network, settings: average)
    }
    statistics = try RunningStatistics(network: network)
    let batch = trainer.batchSize
    let mixed = augmentation.mixing.isOn ? batch : 0
    labels = try Buffer(count: batch, for: "a batch's labels")
    others = try Buffer(count: mixed, for: "a batch's labels")
    shares = try Buffer(count: mixed, for: "a batch's shares")
    gradient = try Buffer(
      count: batch * (try network.outputShape.channels), for: "a batch's logits")
  }

  /// Where the other labels of mixed images go; nil where none are mixed.
  var mixed: MixedTargets? {
    augmentation.mixing.isOn
      ? MixedTargets(others: others.pointer, shares: shares.pointer) : nil
  }
}

/// What an epoch's training has added up so far.
struct EpochSums: Equatable {
  var loss = 0.0
  /// Images whose largest logit, and one of whose five largest, is their label's; of a mixed image
  /// each label counts by its share.
  var hits = Hits()
  var images = 0
  /// Of the gradients' norms, and how many of them were clipped, where they are measured.
  var norms = 0.0
  var clipped = 0
}
