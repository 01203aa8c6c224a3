import GraftNetworks
import GraftSupport

extension Trainer {
  /// The epoch's evaluation, if this is its moment.
  func evaluate(
    _ moment: TrainerSettings.Moment, next: Position.Stage, _ progress: ((Progress) -> Bool)?
  ) throws(GraftError) {
    if settings.evaluate == moment, let evaluator {
      position.evaluations = try measure(with: evaluator, progress)
    }
    position.stage = next
  }

  /// An evaluation between two steps.
  func evaluateBetween(_ progress: ((Progress) -> Bool)?) throws(GraftError) {
    let epoch = position.epochsDone + 1
    if let evaluator {
      let measured = try measure(with: evaluator, progress)
      var records: [StepRecord] = []
      for (member, found) in zip(members, measured) {
        records.append(
          StepRecord(
            epoch: epoch, step: position.batch,
            trainLoss: member.sums.loss / Double(max(1, member.sums.images)),
            test: found.weights, average: found.average))
      }
      stepRecords.append(records)
    }
    position.stage = .training
    try tell(progress, .evaluated, epoch: epoch, step: position.batch, of: batchesPerEpoch)
  }

  /// All networks on the test set, and their averages where they are wanted.
  private func measure(with evaluator: Evaluator, _ progress: ((Progress) -> Bool)?)
    throws(GraftError) -> [Measured]
  {
    let rounds = settings.evaluatesAverage ? 2 : 1
    let steps = evaluator.batches * members.count * rounds
    var done = 0
    func run(_ member: Member, _ average: WeightAverage?) throws(GraftError) -> Evaluation {
      member.network.threads = settings.threads
      defer { member.network.threads = split.threadsEach }
      return try evaluator.evaluate(member.network, average: average, threads: settings.threads) {
        (_) throws(GraftError) in
        done += 1
        try tell(progress, .evaluation, epoch: position.epochsDone + 1, step: done, of: steps)
      }
    }
    var results: [Measured] = []
    for member in members {
      var found = Measured(weights: try run(member, nil))
      if settings.evaluatesAverage, let average = average(of: member) {
        found.average = try run(member, average)
      }
      results.append(found)
    }
    return results
  }

  /// The norm of a member's gradients in its last step; NaN where it is not known.
  public func gradientNorm(of index: Int) -> Double { members[index].optimiser.gradientNorm }

  // MARK: Averages

  /// A member's average. Before its first update it is the weights.
  func average(of member: Member) -> WeightAverage? {
    if member.optimiser.steps < settings.averageEvery { member.average?.reset() }
    return member.average
  }

  /// Writes the moving average of a member's weights into a network of the same structure.
  ///
  /// - Parameter index: one of `members`.
  public func copyAverage(of index: Int, into network: Network) throws(GraftError) {
    guard let average = average(of: members[index]) else {
      throw GraftError(.invalidState, "the trainer keeps no average: ema_decay is 0")
    }
    try average.copy(into: network)
  }
}
