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
      member.order = try EpochOrder(count: train.count, seed: member.settings.seed, epoch: epoch)
    }
    while position.batch < batchesPerEpoch {
      position.factor = learningRateFactor()
      // Teachers answer before any network takes its step, so that the order of the networks
      // does not matter. (Where a step has failed in some networks alone, those others wait, and
      // what the teachers said to the batch stands.)
      if !isUneven { try lessons?.prepare(epoch: epoch, batch: position.batch) }
      try concurrently(members.count, threads: split.networks) { (index) throws(GraftError) in
        if members[index].isAhead { return }
        try step(index, epoch: epoch)
        members[index].isAhead = true
      }
      for member in members { member.isAhead = false }
      countImages(
        members.count * min(settings.batchSize, train.count - position.batch * settings.batchSize))
      position.batch += 1
      if isEvaluationDue { position.stage = .evaluationBetween }
      try tell(
        progress, .training, epoch: epoch, step: position.batch, of: batchesPerEpoch)
      if position.stage == .evaluationBetween { return }
    }
    position.stage = .evaluationBefore
  }

  /// Whether the step at hand has failed in some networks and not in others.
  var isUneven: Bool { members.contains { $0.isAhead } }

  /// Whether the step just done is followed by an evaluation of its own: at an epoch's end there is
  /// the epoch's.
  private var isEvaluationDue: Bool {
    guard settings.evaluateSteps > 0, test != nil, position.batch < batchesPerEpoch else {
      return false
    }
    return (position.epochsDone * batchesPerEpoch + position.batch) % settings.evaluateSteps == 0
  }

  /// Puts a member's batch where its network, or a teacher, is to read it.
  ///
  /// - Parameters:
  ///   - labels: receives the labels; nil if not wanted.
  ///   - mixed: receives what mixing makes of them; nil if not wanted.
  /// - Returns: the number of images.
  func fill(
    _ member: Member, epoch: Int, batch: Int, into network: Network, training: Bool,
    labels: UnsafeMutablePointer<Int64>?, mixed: MixedTargets? = nil
  ) throws(GraftError) -> Int {
    guard let order = member.order else { throw GraftError(.internal, "an epoch has no order") }
    let (samples, count) = order.batch(batch, of: settings.batchSize)
    let place = try network.begin(images: count, training: training)
    try train.fill(
      images: place, labels: labels, mixed: mixed, samples: samples, count: count,
      augmentation: member.augmentation, seed: member.settings.seed, epoch: epoch,
      threads: split.threadsEach)
    return count
  }

  private func step(_ index: Int, epoch: Int) throws(GraftError) {
    let member = members[index]
    let network = member.network
    network.randomness = Network.Randomness(
      seed: member.settings.seed,
      step: UInt64(truncatingIfNeeded: position.epochsDone * batchesPerEpoch + position.batch))
    let count = try fill(
      member, epoch: epoch, batch: position.batch, into: network, training: true,
      labels: member.labels.pointer, mixed: member.mixed)
    member.statistics.keep()
    let logits = try network.run()
    let classes = try network.outputShape.channels
    let gradient = member.gradient
    func view(_ name: String, _ memory: UnsafeMutablePointer<Float>) throws(GraftError)
      -> TensorView
    {
      try TensorView(name: name, data: memory, type: .float32, shape: [count, classes])
    }
    var distillation = member.distillation
    distillation.threads = split.threadsEach
    let loss: Double
    do throws(GraftError) {
      loss = try distillation.loss(
        student: try view("logits", UnsafeMutablePointer(mutating: logits)),
        teachers: try lessons?.answers(for: index, images: count) ?? [],
        labels: member.labels.pointer, mixed: member.mixed?.labels,
        gradient: try view("gradient", gradient.pointer))
      guard loss.isFinite else { throw GraftError(.notFinite, "the loss is \(loss)") }
      try network.runBackward(fill: { $0.update(from: gradient.pointer, count: count * classes) })
      member.optimiser.learningRate = member.settings.learningRate * position.factor
      try member.optimiser.step()
    } catch {
      member.statistics.restore()
      throw GraftError(
        error.kind,
        "network \(index), epoch \(epoch), batch \(position.batch + 1): \(error.message)")
    }
    member.average?.step(member.optimiser.steps)
    member.sums.loss += loss * Double(count)
    member.sums.hits += Hits(
      logits, member.labels.pointer, mixed: member.mixed, count: count, classes: classes)
    member.sums.images += count
    if settings.sgd.clipNorm > 0 {
      member.sums.norms += member.optimiser.gradientNorm
      member.sums.clipped += member.optimiser.isClipped ? 1 : 0
    }
  }
}

/// What the teachers say to the batches at hand: their logits, in evaluation mode, of the weights
/// that they have before the step.
final class Lessons {
  private unowned let trainer: Trainer
  private let logits: Int
  /// Every network that teaches, with those that it teaches.
  private let classrooms: [(teacher: Network, students: [Lesson])]

  /// One teacher's answers to one student's batch.
  private final class Lesson {
    let student: Int
    let answers: Buffer<Float>

    init(student: Int, count: Int) throws(GraftError) {
      self.student = student
      answers = try Buffer(count: count, for: "a teacher's logits")
    }
  }

  init(trainer: Trainer, logits: Int) throws(GraftError) {
    self.trainer = trainer
    self.logits = logits
    let students = trainer.members.indices
    var taught = trainer.teachers.map { (teacher: $0, students: Array(students)) }
    for (index, member) in trainer.members.enumerated() {
      switch trainer.settings.teaching {
      case .given: break
      case .predecessor: taught.append((member.network, [(index + 1) % students.count]))
      case .others: taught.append((member.network, students.filter { $0 != index }))
      }
    }
    var classrooms: [(teacher: Network, students: [Lesson])] = []
    for (teacher, students) in taught {
      var lessons: [Lesson] = []
      for student in students {
        lessons.append(
          try Lesson(student: student, count: trainer.settings.batchSize * logits))
      }
      classrooms.append((teacher, lessons))
    }
    self.classrooms = classrooms
  }

  func prepare(epoch: Int, batch: Int) throws(GraftError) {
    try concurrently(classrooms.count, threads: trainer.split.networks) {
      (index) throws(GraftError) in
      let (teacher, students) = classrooms[index]
      for lesson in students {
        let count = try trainer.fill(
          trainer.members[lesson.student], epoch: epoch, batch: batch, into: teacher,
          training: false, labels: nil)
        lesson.answers.pointer.update(from: try teacher.run(), count: count * logits)
      }
    }
  }

  /// What a student's teachers said to the first `images` images of its batch.
  func answers(for student: Int, images: Int) throws(GraftError) -> [TensorView] {
    var views: [TensorView] = []
    for lesson in classrooms.flatMap(\.students) where lesson.student == student {
      views.append(
        try TensorView(
          name: "teacher \(views.count)", data: lesson.answers.pointer, type: .float32,
          shape: [images, logits]))
    }
    return views
  }
}
