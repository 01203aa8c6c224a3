/// A network's results of one epoch.
public struct EpochRecord: Equatable, Sendable {
  public let epoch: Int
  public let learningRate: Double
  /// Means over the epoch's batches, in training mode. Accuracy is a share.
  public let trainLoss: Double
  public let trainAccuracy: Double
  /// Over the test set, in evaluation mode; NaN where there is none.
  public let testLoss: Double
  public let testAccuracy: Double
  public let evaluated: TrainerSettings.Moment
  /// Whether a graft was due after this epoch.
  public let isGrafted: Bool
  /// Of the epoch, all networks together.
  public let seconds: Double
}

/// Loss and accuracy on a data set.
public struct Evaluation: Equatable, Sendable {
  public let loss: Double
  /// The share of images whose largest logit is the label's.
  public let accuracy: Double
}

/// Where a run stands: enough, with weights and momentum, to go on to the same bits.
struct Position: Equatable {
  /// The parts of an epoch, in order.
  enum Stage: Int {
    case training, evaluationBefore, savingBefore, grafting, evaluationAfter, recording, savingAfter
  }

  /// Whole epochs done.
  var epochsDone = 0
  var stage = Stage.training
  /// Batches done of the epoch under way.
  var batch = 0
  /// The learning rate factor of the last step, for the record.
  var factor = 0.0
  /// Seconds that the epoch has taken, over all runs.
  var seconds = 0.0
  /// The epoch's evaluation, where it has been made, a network each.
  var evaluations: [Evaluation] = []
}

/// What a progress callback is told.
public struct Progress: Sendable {
  public enum Phase: UInt32, Sendable {
    case training = 0
    case evaluation = 1
    case graft = 2
    case epoch = 3
  }

  public let phase: Phase
  /// From 1.
  public let epoch: Int
  public let epochs: Int
  /// Steps done in this phase of this epoch, and how many there are.
  public let step: Int
  public let steps: Int
  /// Mean training loss of the epoch so far, over all networks.
  public let loss: Double
  /// Training images a second over this run so far, all networks together.
  public let imagesPerSecond: Double
  public let seconds: Double
  public let secondsLeft: Double
}
