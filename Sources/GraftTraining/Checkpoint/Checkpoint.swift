import GraftNetworks
import GraftSupport
import Grafting

/// A trainer's checkpoint: a directory of
///
///     network-0.safetensors, ...   each a network's PyTorch state_dict
///     ema-0.safetensors, ...       the same of its weights' moving average, where one is kept
///     trainer.safetensors          momentum, "network-0/conv1.weight", and the grafts' reports
///     manifest.json                position, records, settings, and the other files' checksums
///
/// It is written beside and renamed as a whole, so that its name shows a complete one at any time.
enum Checkpoint {
  static let manifest = "manifest.json"
  static let state = "trainer.safetensors"
  static let reports = "reports"
  static let format = "graft-trainer"
  static let version: Int64 = 1

  static func network(_ index: Int) -> String { "network-\(index).safetensors" }
  static func average(_ index: Int) -> String { "ema-\(index).safetensors" }
  static func momentum(_ index: Int, _ name: String) -> String { "network-\(index)/\(name)" }

  /// Whether a file of this name is a checkpoint's.
  static func owns(_ name: String) -> Bool {
    if name == manifest || name == state { return true }
    let tail = ".safetensors"
    guard let head = ["network-", "ema-"].first(where: name.hasPrefix), name.hasSuffix(tail) else {
      return false
    }
    let number = name.dropFirst(head.count).dropLast(tail.count)
    return !number.isEmpty && number.count <= 2 && number.allSatisfy { $0.isASCII && $0.isNumber }
  }
}

extension Trainer {
  /// Saves everything that a run needs to go on.
  public func save(to directory: String) throws(GraftError) {
    guard !members.isEmpty else {
      throw GraftError(.invalidState, "the trainer has no network to save")
    }
    guard !isUneven else {
      throw GraftError(
        .invalidState,
        "a step has failed in some of the networks; run again, or load, before saving")
    }
    let target = try AtomicDirectory(
      directory, marker: Checkpoint.manifest, owns: Checkpoint.owns)
    var checksums: [JSON.Member] = []
    func write(_ name: String, _ tensors: [TensorView]) throws(GraftError) {
      let checksum = try target.write(name) { (file) throws(GraftError) in
        try SafeTensors.write(to: file, tensors: tensors, metadata: [("format", "pt")])
      }
      checksums.append(.init(name, .integer(Int64(checksum))))
    }
    for (index, member) in members.enumerated() {
      try write(Checkpoint.network(index), try member.network.stateTensors())
      if let average = average(of: member) {
        try write(Checkpoint.average(index), average.tensors)
      }
    }
    let reports = try ReportTable(self)
    var tensors = [try reports.view()]
    for (index, member) in members.enumerated() {
      for (number, tensor) in member.network.tensors.enumerated() {
        guard let momentum = try member.optimiser.momentumView(number) else { continue }
        tensors.append(
          try TensorView(
            name: Checkpoint.momentum(index, tensor.name), data: momentum.data, type: .float32,
            shape: momentum.shape))
      }
    }
    let checksum = try target.write(Checkpoint.state) { (file) throws(GraftError) in
      try SafeTensors.write(to: file, tensors: tensors)
    }
    withExtendedLifetime(reports) {}
    checksums.append(.init(Checkpoint.state, .integer(Int64(checksum))))
    let text = try Manifest(of: self, files: checksums).text()
    try target.write(Checkpoint.manifest) { (file) throws(GraftError) in try file.write(text) }
    try target.commit()
  }

  /// Loads what `save` wrote into a trainer with the same settings, networks and data. On an error
  /// nothing has changed.
  public func load(from directory: String) throws(GraftError) {
    guard !members.isEmpty else {
      throw GraftError(.invalidState, "the trainer has no network to load into: add them first")
    }
    guard !isRunning else {
      throw GraftError(.invalidState, "the trainer is running: it cannot be loaded in its callback")
    }
    let directory = absolutePath(directory)
    try AtomicDirectory.recover(directory, owns: Checkpoint.owns)
    let manifest = try Manifest(reading: directory + "/" + Checkpoint.manifest)
    try manifest.check(against: self)
    let state = try manifest.state(for: self)

    var networks: [SafeTensorsFile] = []
    var averages: [SafeTensorsFile] = []
    var moves: [(from: TensorView, to: TensorView)] = []
    for (index, member) in members.enumerated() {
      let file = try manifest.read(Checkpoint.network(index), in: directory)
      try member.network.checkState(file)
      networks.append(file)
      guard let average = member.average else { continue }
      let averaged = try manifest.read(Checkpoint.average(index), in: directory)
      try member.network.checkState(averaged)
      averages.append(averaged)
      for to in average.tensors where to.type == .float32 {
        moves.append((try averaged.tensor(to.name), to))
      }
    }
    let own = try manifest.read(Checkpoint.state, in: directory)
    for (index, member) in members.enumerated() {
      for (number, tensor) in member.network.tensors.enumerated() {
        guard let to = try member.optimiser.momentumView(number) else { continue }
        let from = try own.tensor(Checkpoint.momentum(index, tensor.name))
        guard from.shape == to.shape, from.type == .float32 else {
          throw GraftError(
            .format, "\(own.path): the momentum of '\(tensor.name)' has shape \(from.shape)")
        }
        moves.append((from, to))
      }
    }
    let reports = try ReportTable.reports(
      in: try own.tensor(Checkpoint.reports), epochs: state.reportEpochs, of: self, path: own.path)

    // From here on nothing can fail.
    for (member, file) in zip(members, networks) { member.network.copyState(from: file) }
    for (from, to) in moves {
      guard let source = from.data, let target = to.data else { continue }
      target.copyMemory(from: source, byteCount: to.count * MemoryLayout<Float>.size)
    }
    withExtendedLifetime((own, averages)) {}
    adopt(state, reports: reports)
  }
}
