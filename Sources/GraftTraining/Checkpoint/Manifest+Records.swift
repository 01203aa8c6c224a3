import GraftSupport

// Results in a checkpoint. What earlier versions did not write reads as NaN.

extension Manifest {
  // MARK: Writing

  /// A record's members "test_loss", "test_accuracy", "test_top5", or those of another prefix.
  static func json(_ evaluation: Evaluation, _ prefix: String) -> [JSON.Member] {
    [
      .init(prefix + "_loss", JSON(orNull: evaluation.loss)),
      .init(prefix + "_accuracy", JSON(orNull: evaluation.accuracy)),
      .init(prefix + "_top5", JSON(orNull: evaluation.topFive)),
    ]
  }

  static func json(_ record: EpochRecord) -> JSON {
    let place: [JSON.Member] = [
      .init("epoch", .integer(Int64(record.epoch))),
      .init("learning_rate", .number(record.learningRate)),
    ]
    let results =
      json(record.train, "train") + json(record.test, "test") + json(record.average, "ema")
    return .object(
      place + results + [
        .init("gradient_norm", JSON(orNull: record.gradientNorm)),
        .init("clipped", JSON(orNull: record.clipped)),
        .init("evaluated", .integer(Int64(record.evaluated.rawValue))),
        .init("grafted", .bool(record.isGrafted)), .init("seconds", .number(record.seconds)),
      ])
  }

  static func json(_ record: StepRecord) -> JSON {
    let place: [JSON.Member] = [
      .init("epoch", .integer(Int64(record.epoch))), .init("step", .integer(Int64(record.step))),
      .init("train_loss", JSON(orNull: record.trainLoss)),
    ]
    return .object(place + json(record.test, "test") + json(record.average, "ema"))
  }

  // MARK: Reading

  func record(_ row: JSON) throws(GraftError) -> EpochRecord {
    guard let epoch = whole(row["epoch"], 1...TrainerSettings.largestEpochs),
      let learningRate = row["learning_rate"]?.number,
      row["train_loss"] != nil, let train = evaluation(row, "train"),
      row["test_loss"] != nil, let test = evaluation(row, "test"),
      let average = evaluation(row, "ema"), let gradientNorm = late(row["gradient_norm"]),
      let clipped = late(row["clipped"]),
      let evaluated = row["evaluated"]?.integer.flatMap(TrainerSettings.Moment.init),
      let isGrafted = row["grafted"]?.bool, let seconds = row["seconds"]?.number
    else { throw malformed("records") }
    return EpochRecord(
      epoch: epoch, learningRate: learningRate, train: train, test: test, average: average,
      gradientNorm: gradientNorm, clipped: clipped, evaluated: evaluated, isGrafted: isGrafted,
      seconds: seconds)
  }

  func stepRecord(_ row: JSON) throws(GraftError) -> StepRecord {
    guard let epoch = whole(row["epoch"], 1...TrainerSettings.largestEpochs),
      let step = whole(row["step"], 1...Int.max), let trainLoss = row["train_loss"]?.numberOrNaN,
      row["test_loss"] != nil, let test = evaluation(row, "test"),
      let average = evaluation(row, "ema")
    else { throw malformed("step_records") }
    return StepRecord(
      epoch: epoch, step: step, trainLoss: trainLoss, test: test, average: average)
  }

  /// The evaluation of the epoch under way; loss and accuracy alone in earlier versions.
  func measured(_ value: JSON) -> Measured? {
    if let pair = value.elements {
      guard pair.count == 2, let loss = pair[0].numberOrNaN, let accuracy = pair[1].number else {
        return nil
      }
      return Measured(weights: Evaluation(loss: loss, accuracy: accuracy, topFive: .nan))
    }
    guard value["test_loss"] != nil, let weights = evaluation(value, "test"),
      let average = evaluation(value, "ema")
    else { return nil }
    return Measured(weights: weights, average: average)
  }

  private func evaluation(_ row: JSON, _ prefix: String) -> Evaluation? {
    guard let loss = late(row[prefix + "_loss"]), let accuracy = late(row[prefix + "_accuracy"]),
      let topFive = late(row[prefix + "_top5"])
    else { return nil }
    return Evaluation(loss: loss, accuracy: accuracy, topFive: topFive)
  }

  /// A number that earlier versions did not write: NaN where it is missing or null.
  func late(_ value: JSON?) -> Double? { value == nil ? .nan : value?.numberOrNaN }
}
