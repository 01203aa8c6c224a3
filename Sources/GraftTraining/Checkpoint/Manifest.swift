import GraftNetworks
import GraftSupport
import Grafting

/// A checkpoint's manifest.json.
struct Manifest {
  private let root: JSON
  private let path: String

  /// What a trainer takes over from a manifest.
  struct State {
    var position: Position
    var sums: [EpochSums]
    var steps: [Int]
    var records: [[EpochRecord]]
    var stepRecords: [[StepRecord]]
    var reportEpochs: [Int]
  }

  // MARK: Writing

  init(of trainer: Trainer, files: [JSON.Member]) throws(GraftError) {
    path = Checkpoint.manifest
    root = [
      "format": .string(Checkpoint.format),
      "version": .integer(Checkpoint.version),
      "settings": Manifest.settings(of: trainer),
      "data": Manifest.data(of: trainer),
      "members": .array(
        trainer.members.map { member in
          [
            "seed": .string(String(member.settings.seed)),
            "learning_rate": .number(member.settings.learningRate),
            "own": Manifest.own(member.settings),
            "steps": .integer(Int64(member.optimiser.steps)),
            "loss": .number(member.sums.loss), "images": .integer(Int64(member.sums.images)),
            "correct": .number(member.sums.hits.first),
            "top5": JSON(orNull: member.sums.hits.five),
            "norms": .number(member.sums.norms), "clipped": .integer(Int64(member.sums.clipped)),
          ]
        }),
      "position": Manifest.json(trainer.position),
      "records": .array(trainer.records.map { .array($0.map(Manifest.json)) }),
      "step_records": .array(trainer.stepRecords.map { .array($0.map(Manifest.json)) }),
      "report_epochs": .array(trainer.reports.keys.sorted().map { .integer(Int64($0)) }),
      "files": .object(files),
    ]
  }

  /// The text of the file: the members, and the CRC-32 of their text without spaces.
  func text() throws(GraftError) -> String {
    let checksum = Int64(crc32Of(try root.text()))
    let all = (root.members ?? []) + [.init("checksum", .integer(checksum))]
    return try JSON.object(all).text(pretty: true) + "\n"
  }

  private static func data(of trainer: Trainer) -> JSON {
    func describe(_ set: Dataset) -> JSON {
      .array(
        [set.count, set.channels, set.height, set.width, set.classes].map { .integer(Int64($0)) })
    }
    return ["train": describe(trainer.train), "test": trainer.test.map(describe) ?? .null]
  }

  private static func json(_ position: Position) -> JSON {
    [
      "epochs_done": .integer(Int64(position.epochsDone)),
      "stage": .integer(Int64(position.stage.rawValue)),
      "batch": .integer(Int64(position.batch)),
      "factor": .number(position.factor),
      "seconds": .number(position.seconds),
      "evaluations": .array(
        position.evaluations.map {
          .object(json($0.weights, "test") + json($0.average, "ema"))
        }),
    ]
  }

  // MARK: Reading

  init(reading path: String) throws(GraftError) {
    self.path = path
    let bytes = try readAll(path, limit: 1 << 28)
    let whole = try JSON(
      parsing: UnsafeRawBufferPointer(start: bytes.pointer, count: bytes.count), source: path)
    guard whole["format"]?.text == Checkpoint.format else {
      throw GraftError(.format, "\(path): this is not the manifest of a trainer's checkpoint")
    }
    guard whole["version"]?.integer == Int(Checkpoint.version) else {
      throw GraftError(
        .unsupported, "\(path): the checkpoint is of another version than \(Checkpoint.version)")
    }
    root = .object((whole.members ?? []).filter { $0.key != "checksum" })
    guard whole["checksum"]?.integer == Int(crc32Of(try root.text())) else {
      throw GraftError(.format, "\(path): the manifest does not agree with its checksum")
    }
  }

  /// Reads one of the checkpoint's files, whose bytes must be those that were written with this
  /// manifest.
  func read(_ name: String, in directory: String) throws(GraftError) -> SafeTensorsFile {
    let path = directory + "/" + name
    guard let expected = root["files"]?[name]?.integer else { throw malformed("files") }
    let bytes = try readAll(path, limit: Int.max)
    guard Int(crc32Of(bytes.pointer, count: bytes.count)) == expected else {
      throw GraftError(.format, "\(path): its bytes do not agree with the manifest's checksum")
    }
    return try SafeTensors.read(path: path)
  }

  /// Checks that a trainer is the one that was saved.
  func check(against trainer: Trainer) throws(GraftError) {
    func differs(_ what: String, _ saved: JSON?, _ own: JSON?) throws(GraftError) {
      func text(_ value: JSON?) throws(GraftError) -> String { try value?.text() ?? "nothing" }
      throw GraftError(
        .shapeMismatch,
        "\(path): \(what) is \(try text(saved)) in the checkpoint and \(try text(own)) in this trainer"
      )
    }
    for (section, own) in [
      ("settings", Manifest.settings(of: trainer)), ("data", Manifest.data(of: trainer)),
    ] {
      guard let saved = root[section]?.members else { throw malformed(section) }
      let keys = (own.members ?? []).map(\.key)
      for key in keys where root[section]?[key] != own[key] {
        try differs(key, root[section]?[key], own[key])
      }
      if let other = saved.first(where: { !keys.contains($0.key) }) {
        // A checkpoint of a cosine schedule names its epochs; another one need not.
        try differs(other.key, other.value, nil)
      }
    }
    guard let members = root["members"]?.elements else { throw malformed("members") }
    guard members.count == trainer.members.count else {
      throw GraftError(
        .shapeMismatch,
        "\(path): \(members.count) networks in the checkpoint, \(trainer.members.count) in this "
          + "trainer"
      )
    }
    for (index, (saved, own)) in zip(members, trainer.members.map(\.settings)).enumerated() {
      let (seed, rate) = (JSON.string(String(own.seed)), JSON.number(own.learningRate))
      if saved["seed"] != seed { try differs("network \(index)'s seed", saved["seed"], seed) }
      if saved["learning_rate"]?.number != own.learningRate {
        try differs("network \(index)'s learning_rate", saved["learning_rate"], rate)
      }
      let others = Manifest.own(own)
      if saved["own"] ?? [:] != others {
        try differs("network \(index)'s own", saved["own"], others)
      }
    }
  }

  /// The state, after `check`.
  func state(for trainer: Trainer) throws(GraftError) -> State {
    let place = root["position"]
    guard let done = whole(place?["epochs_done"], 0...trainer.settings.epochs),
      let stage = place?["stage"]?.integer.flatMap(Position.Stage.init),
      let batch = whole(place?["batch"], 0...trainer.batchesPerEpoch),
      let factor = place?["factor"]?.number, let seconds = place?["seconds"]?.number,
      let evaluations = place?["evaluations"]?.elements
    else {
      throw malformed("position (this trainer has \(trainer.settings.epochs) epochs)")
    }
    var state = State(
      position: Position(), sums: [], steps: [], records: [], stepRecords: [], reportEpochs: [])
    state.position = Position(
      epochsDone: done, stage: stage, batch: batch, factor: factor, seconds: seconds,
      evaluations: [])
    for measured in evaluations {
      guard let measured = self.measured(measured) else { throw malformed("position.evaluations") }
      state.position.evaluations.append(measured)
    }
    for member in root["members"]?.elements ?? [] {
      guard let loss = member["loss"]?.number,
        let images = whole(member["images"], 0...trainer.train.count),
        let first = member["correct"]?.number, 0...Double(images) ~= first,
        let five = late(member["top5"]), five.isNaN || 0...Double(images) ~= five,
        let norms = (member["norms"] ?? 0).number, norms >= 0,
        let clipped = whole(member["clipped"] ?? 0, 0...batch),
        let steps = whole(member["steps"], 0...1 << 60)
      else { throw malformed("members") }
      state.sums.append(
        EpochSums(
          loss: loss, hits: Hits(first: first, five: five), images: images, norms: norms,
          clipped: clipped))
      state.steps.append(steps)
    }
    guard let epochs = root["records"]?.elements, epochs.count == done else {
      throw malformed("records")
    }
    for epoch in epochs {
      guard let rows = epoch.elements, rows.count == trainer.members.count else {
        throw malformed("records")
      }
      var records: [EpochRecord] = []
      for row in rows { records.append(try record(row)) }
      state.records.append(records)
    }
    for step in root["step_records"]?.elements ?? [] {
      guard let rows = step.elements, rows.count == trainer.members.count else {
        throw malformed("step_records")
      }
      var records: [StepRecord] = []
      for row in rows { records.append(try stepRecord(row)) }
      state.stepRecords.append(records)
    }
    guard let reports = root["report_epochs"]?.elements else { throw malformed("report_epochs") }
    for epoch in reports {
      guard let number = whole(epoch, 1...done + 1) else { throw malformed("report_epochs") }
      state.reportEpochs.append(number)
    }
    return state
  }

  func whole(_ value: JSON?, _ range: ClosedRange<Int>) -> Int? {
    guard let number = value?.integer, range.contains(number) else { return nil }
    return number
  }

  func malformed(_ what: String) -> GraftError {
    GraftError(.format, "\(path): '\(what)' is missing or not what it should be")
  }
}

/// A whole file in memory.
private func readAll(_ path: String, limit: Int) throws(GraftError) -> Buffer<UInt8> {
  let file = try File.reading(path)
  let size = try file.size()
  guard size <= limit else {
    throw GraftError(.format, "\(path): \(size) bytes are too many")
  }
  let bytes = try Buffer<UInt8>(count: size, for: path)
  var done = 0
  while done < size {
    let count = try file.read(into: bytes.pointer + done, count: size - done)
    guard count > 0 else { throw GraftError(.format, "\(path): it got shorter while it was read") }
    done += count
  }
  return bytes
}
