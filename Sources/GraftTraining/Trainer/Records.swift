/// A network's results of one epoch.
public struct EpochRecord: Equatable, Sendable {
  public let epoch: Int
  public let learningRate: Double
  /// Over the epoch's batches, in training mode: what was minimised, and the share of the images
  /// whose largest logit, or one of whose five largest, is their label's.
  public let train: Evaluation
  /// Over the test set, in evaluation mode; NaN where there is none.
  public let test: Evaluation
  /// The same of the moving average; NaN where it is not evaluated.
  public let average: Evaluation
  /// The mean of the gradients' norms over the steps, before clipping, and the share of the steps
  /// that were clipped; NaN where they are not measured.
  public let gradientNorm: Double
  public let clipped: Double
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
  /// The share of those where it is among the five largest.
  public let topFive: Double

  static let none = Evaluation(loss: .nan, accuracy: .nan, topFive: .nan)

  init(loss: Double, accuracy: Double, topFive: Double) {
    self.loss = loss
    self.accuracy = accuracy
    self.topFive = topFive
  }

  /// Means over `images` images.
  init(loss: Double, hits: Hits, images: Int) {
    let images = Double(max(1, images))
    self.init(loss: loss / images, accuracy: hits.first / images, topFive: hits.five / images)
  }
}

/// What an evaluation of a network in training gives: of its weights, and of their average.
struct Measured: Equatable {
  var weights: Evaluation
  var average = Evaluation.none
}

/// A network's results between two steps of an epoch.
public struct StepRecord: Equatable, Sendable {
  public let epoch: Int
  /// Steps done of the epoch.
  public let step: Int
  /// Mean loss of the epoch's training so far.
  public let trainLoss: Double
  public let test: Evaluation
  /// NaN where the average is not evaluated.
  public let average: Evaluation
}

/// Where a run stands: enough, with weights and momentum, to go on to the same bits.
struct Position: Equatable {
  /// The parts of an epoch, in order.
  enum Stage: Int {
    case training, evaluationBefore, savingBefore, grafting, evaluationAfter, recording, savingAfter
    /// Between two steps of the training.
    case evaluationBetween
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
  var evaluations: [Measured] = []
}

/// What a progress callback is told.
public struct Progress: Sendable {
  public enum Phase: UInt32, Sendable {
    case training = 0
    case evaluation = 1
    case graft = 2
    case epoch = 3
    case evaluated = 4
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
