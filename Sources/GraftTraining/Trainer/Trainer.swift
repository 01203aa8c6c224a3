import Glibc
import GraftKernels
import GraftNetworks
import GraftSupport
import Grafting

/// Trains K networks side by side: every batch in turn on each of them, grafting each other at an
/// epoch's end (paper, Algorithm 1), with distillation while they train.
///
/// All that is random is a function of seed, epoch and image, and work is split by fixed sizes, so
/// a run gives the same bits at any number of threads, and one that was stopped and resumed the
/// same as one that was not.
public final class Trainer {
  public let settings: TrainerSettings
  public let train: Dataset
  public let test: Dataset?
  public private(set) var members: [Member] = []
  public private(set) var teachers: [Network] = []

  var position = Position()
  /// Finished epochs' results: for each epoch one record a network.
  public internal(set) var records: [[EpochRecord]] = []
  /// Results between two steps: for each evaluation one a network.
  public internal(set) var stepRecords: [[StepRecord]] = []
  /// Grafts' reports, by epoch.
  public internal(set) var reports: [Int: GraftReport] = [:]

  private(set) var plan: GraftPlan?
  var evaluator: Evaluator?
  var lessons: Lessons?
  private(set) var isRunning = false
  private var clock = RunClock()
  /// How this run's threads are shared among the networks.
  private(set) var split = Split(threads: 1, networks: 1)

  public init(settings: TrainerSettings, train: Dataset, test: Dataset?) throws(GraftError) {
    try settings.check()
    guard train.count > 0, test?.count != 0 else {
      throw GraftError(.invalidArgument, "train and test must have at least one image")
    }
    guard test.map({ $0.imageShape == train.imageShape }) ?? true else {
      throw GraftError(
        .shapeMismatch,
        "test has images of \(test?.imageShape ?? train.imageShape), and train of "
          + "\(train.imageShape)")
    }
    self.settings = settings
    self.train = train
    self.test = test
  }

  /// The most networks, and the most teachers.
  public static let largestCount = 64

  // MARK: Networks

  /// Adds a network to train; the first added is network 0.
  public func add(_ network: Network, _ own: MemberSettings) throws(GraftError) {
    try checkCanAdd(members.count, "networks")
    guard !members.contains(where: { $0.network === network }),
      !teachers.contains(where: { $0 === network })
    else { throw GraftError(.invalidArgument, "network is in this trainer already") }
    _ = try network.checkFits(train)
    if let first = members.first {
      if settings.grafting != nil, !network.hasSameTensors(as: first.network) {
        throw GraftError(
          .shapeMismatch,
          "network \(members.count) has another structure than network 0; "
            + "networks that graft each other must be alike")
      }
      guard try network.outputShape == first.network.outputShape else {
        throw GraftError(
          .shapeMismatch, "network \(members.count) has another output than network 0")
      }
    }
    members.append(try Member(network: network, settings: own, in: settings))
  }

  /// Adds a teacher, of any structure. It is never changed.
  public func addTeacher(_ teacher: Network) throws(GraftError) {
    try checkCanAdd(teachers.count, "teachers")
    guard !members.contains(where: { $0.network === teacher }) else {
      throw GraftError(.invalidArgument, "teacher is a network of this trainer; see 'teaching'")
    }
    guard !teachers.contains(where: { $0 === teacher }) else {
      throw GraftError(.invalidArgument, "teacher is a teacher of this trainer already")
    }
    let logits = try teacher.checkFits(train, "teacher")
    guard
      try members.first.map({ (first) throws(GraftError) in
        try first.network.outputShape.channels == logits
      }) ?? true
    else {
      throw GraftError(
        .shapeMismatch, "teacher has another number of logits than the trainer's networks")
    }
    teachers.append(teacher)
  }

  private func checkCanAdd(_ count: Int, _ what: String) throws(GraftError) {
    guard !isRunning, position == Position() else {
      throw GraftError(.invalidState, "the run has begun; no \(what) can be added any more")
    }
    guard count < Trainer.largestCount else {
      throw GraftError(.invalidArgument, "a trainer has at most \(Trainer.largestCount) \(what)")
    }
  }

  public var epochsDone: Int { position.epochsDone }

  // MARK: The run

  /// Trains until all epochs are done, or goes on where the last call stopped.
  ///
  /// - Parameter progress: told after every step; returns false to stop, which throws `.cancelled`.
  public func run(progress: ((Progress) -> Bool)? = nil) throws(GraftError) {
    guard !isRunning else {
      throw GraftError(.invalidState, "the trainer is running: it cannot be run from its callback")
    }
    isRunning = true
    defer { isRunning = false }
    try prepare()
    clock = RunClock()
    while position.epochsDone < settings.epochs || position.stage != .training {
      let began = RunClock.now()
      defer { position.seconds += RunClock.now() - began }
      switch position.stage {
      case .training: try trainEpoch(progress)
      case .evaluationBetween: try evaluateBetween(progress)
      case .evaluationBefore: try evaluate(.beforeGraft, next: .savingBefore, progress)
      case .savingBefore: try save(.beforeGraft, epoch: position.epochsDone + 1, next: .grafting)
      case .grafting: try graft(progress)
      case .evaluationAfter: try evaluate(.afterGraft, next: .recording, progress)
      case .recording: record()
      case .savingAfter:
        try save(.afterGraft, epoch: position.epochsDone, next: .training)
        try tell(progress, .epoch, epoch: position.epochsDone, step: 1, of: 1)
      }
    }
  }

  private func prepare() throws(GraftError) {
    guard let first = members.first else {
      throw GraftError(.invalidState, "the trainer has no network: call graft_trainer_add first")
    }
    if settings.teaching != .given, members.count < 2 {
      throw GraftError(
        .invalidState, "teaching by other networks needs at least two; the trainer has one")
    }
    let logits = try first.network.outputShape.channels
    for teacher in teachers {
      guard try teacher.outputShape.channels == logits else {
        throw GraftError(.shapeMismatch, "a teacher has another number of logits than its students")
      }
    }
    try settings.grafting?.checkSource(members.count)
    if plan == nil, settings.grafting != nil { plan = try first.network.graftPlan() }
    if evaluator == nil, let test {
      evaluator = try Evaluator(dataset: test, batchSize: max(settings.batchSize, 128))
    }
    if lessons == nil { lessons = try Lessons(trainer: self, logits: logits) }
    split = Split(threads: settings.threads, networks: members.count)
    for network in members.map(\.network) + teachers { network.threads = split.threadsEach }
    for member in members { member.network.precision = settings.precision }
  }

  // MARK: Stages but the training

  private func graft(_ progress: ((Progress) -> Bool)?) throws(GraftError) {
    let epoch = position.epochsDone + 1
    position.stage = .evaluationAfter
    guard var graft = settings.grafting, graft.period.isDue(after: epoch) else { return }
    graft.threads = settings.threads
    graft.step = (epoch - graft.period.start) / graft.period.every
    if case .noise = graft.source { graft.step = epoch }
    do {
      var networks: [[TensorView]] = []
      for member in members {
        var views: [TensorView] = []
        for tensor in member.network.tensors { views.append(try tensor.view) }
        networks.append(views)
      }
      reports[epoch] = try graft.apply(to: networks, plan: plan)
    } catch {
      position.stage = .grafting
      throw error
    }
    try tell(progress, .graft, epoch: epoch, step: 1, of: 1)
  }

  private func record() {
    let epoch = position.epochsDone + 1
    var records: [EpochRecord] = []
    for (index, member) in members.enumerated() {
      let test = position.evaluations.indices.contains(index) ? position.evaluations[index] : nil
      let sums = member.sums
      let steps = settings.sgd.clipNorm > 0 ? Double(max(1, batchesPerEpoch)) : .nan
      records.append(
        EpochRecord(
          epoch: epoch, learningRate: member.settings.learningRate * position.factor,
          train: Evaluation(loss: sums.loss, hits: sums.hits, images: sums.images),
          test: test?.weights ?? .none, average: test?.average ?? .none,
          gradientNorm: sums.norms / steps, clipped: Double(sums.clipped) / steps,
          evaluated: settings.evaluate, isGrafted: reports[epoch] != nil,
          seconds: position.seconds))
      member.sums = EpochSums()
      member.order = nil
    }
    self.records.append(records)
    position = Position()
    position.epochsDone = epoch
    position.stage = .savingAfter
  }

  private func save(_ moment: TrainerSettings.Moment, epoch: Int, next: Position.Stage)
    throws(GraftError)
  {
    let stage = position.stage
    position.stage = next
    guard settings.save == moment, settings.saveEvery > 0, epoch % settings.saveEvery == 0,
      let directory = settings.directory
    else { return }
    do {
      try save(to: directory)
    } catch {
      position.stage = stage
      throw error
    }
  }

  // MARK: Resuming

  /// Takes over what a checkpoint holds besides weights and momentum.
  func adopt(_ state: Manifest.State, reports: [Int: GraftReport]) {
    position = state.position
    records = state.records
    stepRecords = state.stepRecords
    self.reports = reports
    for (index, member) in members.enumerated() {
      member.sums = state.sums[index]
      member.optimiser.steps = state.steps[index]
      member.order = nil
      member.isAhead = false
    }
  }

  // MARK: Progress

  /// Tells the callback, and throws `.cancelled` if it asks to stop.
  func tell(
    _ progress: ((Progress) -> Bool)?, _ phase: Progress.Phase, epoch: Int, step: Int, of steps: Int
  ) throws(GraftError) {
    guard let progress else { return }
    let images = members.reduce(0) { $0 + $1.sums.images }
    let loss = members.reduce(0) { $0 + $1.sums.loss }
    let seconds = clock.seconds
    let rate = Double(clock.images) / max(seconds, 1e-9)
    let all = Double(settings.epochs) * Double(train.count) * Double(members.count)
    let done =
      Double(position.epochsDone) * Double(train.count) * Double(members.count)
      + Double(images)
    let report = Progress(
      phase: phase, epoch: epoch, epochs: settings.epochs, step: step, steps: steps,
      loss: images > 0 ? loss / Double(images) : records.last.map(meanLoss) ?? .nan,
      imagesPerSecond: rate, seconds: seconds,
      secondsLeft: clock.images > 0 ? max(0, all - done) / rate : .nan)
    guard progress(report) else {
      throw GraftError(.cancelled, "the callback asked to stop in epoch \(epoch)")
    }
  }

  private func meanLoss(_ records: [EpochRecord]) -> Double {
    records.reduce(0) { $0 + $1.train.loss } / Double(max(1, records.count))
  }

  func countImages(_ count: Int) { clock.images += count }
}

/// How threads are shared among networks: a network a thread where there are about as many networks
/// as threads, since then nobody waits for anybody within a step; else all threads on one network's
/// layers after another. Results are the same either way.
struct Split: Equatable {
  /// Networks at once.
  let networks: Int
  /// Threads on each network's layers.
  let threadsEach: Int

  init(threads: Int, networks: Int) {
    let threads = Int(gk_threads(Int32(clamping: threads)))
    let isSideBySide = networks > 1 && threads < 2 * networks
    self.networks = isSideBySide ? threads : 1
    threadsEach = isSideBySide ? 1 : threads
  }
}

/// Time and work of one call of `run`.
private struct RunClock {
  private let began = RunClock.now()
  var images = 0

  var seconds: Double { RunClock.now() - began }

  static func now() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
  }
}
