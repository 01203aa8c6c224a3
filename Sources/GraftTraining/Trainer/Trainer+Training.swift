import GraftNetworks
import GraftSupport
import Grafting

extension Trainer {
  /// The number of batches in an epoch; the last one may be smaller.
  var batchesPerEpoch: Int { (train.count + settings.batchSize - 1) / settings.batchSize }

  /// The share of a member's first learning rate that the step at hand has.
  private func learningRateFactor() -> Double {
    let factor = settings.schedule.factor(epoch: position.epochsDone, of: settings.epochs)
    guard position.epochsDone < settings.warmupEpochs else { return factor }
    let step = position.epochsDone * batchesPerEpoch + position.batch + 1
    return factor * Double(step) / Double(settings.warmupEpochs * batchesPerEpoch)
  }

  func trainEpoch(_ progress: ((Progress) -> Bool)?) throws(GraftError) {
    let epoch = position.epochsDone + 1
    for member in members where member.order == nil {
      member.order = try EpochOrder(count: train.count, seed: member.seed, epoch: epoch)
    }
    while position.batch < batchesPerEpoch {
      position.factor = learningRateFactor()
      // Teachers answer before any network takes its step, so that the order of the networks
      // does not matter.
      try lessons?.prepare(epoch: epoch, batch: position.batch)
      for index in members.indices { try step(index, epoch: epoch) }
      position.batch += 1
      try tell(
        progress, .training, epoch: epoch, step: position.batch, of: batchesPerEpoch)
    }
    position.stage = .evaluationBefore
  }

  /// Puts a member's batch where its network, or a teacher, is to read it.
  ///
  /// - Returns: the number of images.
  func fill(
    _ member: Member, epoch: Int, batch: Int, into network: Network, training: Bool
  ) throws(GraftError) -> Int {
    guard let order = member.order else { throw GraftError(.internal, "an epoch has no order") }
    let (samples, count) = order.batch(batch, of: settings.batchSize)
    let place = try network.begin(images: count, training: training)
    try train.fill(
      images: place, labels: member.labels.pointer, samples: samples, count: count,
      augmentation: augmentation, seed: member.seed, epoch: epoch, threads: settings.threads)
    return count
  }

  private func step(_ index: Int, epoch: Int) throws(GraftError) {
    let member = members[index]
    let network = member.network
    guard let gradient = logitsGradient else { throw GraftError(.internal, "not prepared") }
    let count = try fill(
      member, epoch: epoch, batch: position.batch, into: network, training: true)
    let logits = try network.run()
    let classes = try network.outputShape.channels
    func view(_ name: String, _ memory: UnsafeMutablePointer<Float>) throws(GraftError)
      -> TensorView
    {
      try TensorView(name: name, data: memory, type: .float32, shape: [count, classes])
    }
    var distillation = settings.distillation
    distillation.threads = settings.threads
    let loss: Double
    do {
      loss = try distillation.loss(
        student: try view("logits", UnsafeMutablePointer(mutating: logits)),
        teachers: try lessons?.answers(for: index, images: count) ?? [],
        labels: member.labels.pointer, gradient: try view("gradient", gradient.pointer))
    } catch {
      throw GraftError(
        error.kind,
        "network \(index), epoch \(epoch), batch \(position.batch + 1): \(error.message)")
    }
    guard loss.isFinite else {
      throw GraftError(
        .notFinite,
        "network \(index), epoch \(epoch), batch \(position.batch + 1): the loss is \(loss)")
    }
    try network.runBackward(fill: { $0.update(from: gradient.pointer, count: count * classes) })
    member.optimiser.learningRate = member.learningRate * position.factor
    try member.optimiser.step()
    member.sums.loss += loss * Double(count)
    member.sums.correct += countCorrect(
      logits, member.labels.pointer, count: count, classes: classes)
    member.sums.images += count
    countImages(count)
  }
}

/// What the teachers say to the batches at hand: their logits, in evaluation mode, of the weights
/// that they have before the step.
final class Lessons {
  private unowned let trainer: Trainer
  private let logits: Int
  /// For each network, for each of its teachers.
  private let answers: [[Buffer<Float>]]

  init(trainer: Trainer, logits: Int) throws(GraftError) {
    self.trainer = trainer
    self.logits = logits
    var answers: [[Buffer<Float>]] = []
    for index in trainer.members.indices {
      var own: [Buffer<Float>] = []
      for _ in Lessons.teachers(of: index, in: trainer) {
        own.append(
          try Buffer(count: trainer.settings.batchSize * logits, for: "a teacher's logits"))
      }
      answers.append(own)
    }
    self.answers = answers
  }

  private static func teachers(of index: Int, in trainer: Trainer) -> [Network] {
    let count = trainer.members.count
    switch trainer.settings.teaching {
    case .given: return trainer.teachers
    case .predecessor:
      return trainer.teachers + [trainer.members[(index + count - 1) % count].network]
    case .others:
      return trainer.teachers
        + trainer.members.indices.filter { $0 != index }.map { trainer.members[$0].network }
    }
  }

  func prepare(epoch: Int, batch: Int) throws(GraftError) {
    for (index, own) in answers.enumerated() {
      for (teacher, buffer) in zip(Lessons.teachers(of: index, in: trainer), own) {
        let count = try trainer.fill(
          trainer.members[index], epoch: epoch, batch: batch, into: teacher, training: false)
        buffer.pointer.update(from: try teacher.run(), count: count * logits)
      }
    }
  }

  func answers(for index: Int, images: Int) throws(GraftError) -> [TensorView] {
    var views: [TensorView] = []
    for (number, buffer) in answers[index].enumerated() {
      views.append(
        try TensorView(
          name: "teacher \(number)", data: buffer.pointer, type: .float32,
          shape: [images, logits]))
    }
    return views
  }
}
