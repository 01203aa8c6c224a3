import GraftNetworks
import GraftSupport
import Grafting

/// What a trainer does. The defaults are the paper's.
public struct TrainerSettings: Sendable {
  /// Who teaches, besides teachers that are given.
  public enum Teaching: Int, Sendable {
    case given = 0
    case predecessor = 1
    case others = 2
  }

  /// Before or after an epoch's graft.
  public enum Moment: Int, Sendable {
    case beforeGraft = 0
    case afterGraft = 1
  }

  public var epochs = 200
  public var batchSize = 128
  public var threads = 0
  public var sgd = SGD.Settings()
  /// What the networks multiply in while they train.
  public var precision = Precision.float32
  public var schedule = Schedule.step(epochs: 60, factor: 0.1)
  /// The learning rate rises linearly over the steps of this many first epochs.
  public var warmupEpochs = 0
  public var augmentation = Augmentation()
  /// nil for networks that do not graft.
  public var grafting: GraftOperator?
  public var distillation = Distillation()
  public var teaching = Teaching.given
  /// The decay of the weights' moving average, 0 for none, and the steps between two updates.
  public var averageDecay = 0.0
  public var averageEvery = 1
  public var evaluate = Moment.afterGraft
  /// Whether evaluations measure the averages too.
  public var evaluatesAverage = false
  /// Evaluates after every this many steps too, but at an epoch's end; 0 for never.
  public var evaluateSteps = 0
  public var save = Moment.afterGraft
  /// Saves after every this many epochs; 0 for never.
  public var saveEvery = 0
  /// Where to save.
  public var directory: String?

  public init() {}

  /// The moving average, where one is kept.
  var average: WeightAverage.Settings? {
    averageDecay == 0 ? nil : WeightAverage.Settings(decay: averageDecay, every: averageEvery)
  }

  /// The most epochs that a run may have.
  public static let largestEpochs = 1_000_000

  func check() throws(GraftError) {
    func check(_ value: Int, _ name: String, _ range: ClosedRange<Int>) throws(GraftError) {
      guard range.contains(value) else {
        throw GraftError(
          .invalidArgument,
          "\(name) is \(value); allowed are \(range.lowerBound) to \(range.upperBound)")
      }
    }
    try check(epochs, "epochs", 1...TrainerSettings.largestEpochs)
    try check(batchSize, "batch_size", 1...65536)
    try check(threads, "threads", 0...256)
    try check(warmupEpochs, "warmup_epochs", 0...TrainerSettings.largestEpochs)
    try check(saveEvery, "save_every", 0...TrainerSettings.largestEpochs)
    if case .step(let epochs, let factor) = schedule {
      try check(epochs, "step_epochs", 1...TrainerSettings.largestEpochs)
      guard factor.isFinite, factor > 0 else {
        throw GraftError(
          .invalidArgument, "step_factor is \(factor); it must be finite and above 0")
      }
    }
    try sgd.check()
    try augmentation.check()
    try average?.check()
    try check(evaluateSteps, "evaluate_steps", 0...Int(Int32.max))
    guard !evaluatesAverage || average != nil else {
      throw GraftError(
        .invalidArgument, "evaluate_ema is 1 and ema_decay is 0: there is no average to evaluate")
    }
    guard saveEvery == 0 || directory != nil else {
      throw GraftError(
        .invalidArgument, "save_every is \(saveEvery) and directory is NULL: say where to save")
    }
  }
}
