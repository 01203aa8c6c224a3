import GraftNetworks
import GraftSupport
import Grafting

/// The grafts' reports as one float64 tensor, epochs x layers x networks x columns: with many
/// layers and epochs they are too many numbers for a text file.
final class ReportTable {
  private static let columns = 9
  private let numbers: Buffer<Double>
  private let shape: [Int]

  init(_ trainer: Trainer) throws(GraftError) {
    let reports = trainer.reports.sorted { $0.key < $1.key }.map(\.value)
    let layers = reports.first?.layers.count ?? 0
    shape = [reports.count, layers, trainer.members.count, ReportTable.columns]
    guard let count = product(shape) else {
      throw GraftError(.outOfMemory, "the reports are too large to save")
    }
    numbers = try Buffer(count: count, for: "the reports")
    var at = 0
    for report in reports {
      for entry in report.layers.flatMap(\.networks) {
        for number in [
          Double(entry.source), entry.alpha, entry.entropyBefore, entry.entropyAfter,
          Double(entry.filters), Double(entry.invalidBefore), Double(entry.invalidAfter),
          entry.normBefore, entry.normAfter,
        ] where at < count {
          numbers[at] = number
          at += 1
        }
      }
    }
  }

  func view() throws(GraftError) -> TensorView {
    try TensorView(name: Checkpoint.reports, data: numbers.pointer, type: .float64, shape: shape)
  }

  /// Reads the reports back. Layers are those of the trainer's own plan.
  static func reports(
    in tensor: TensorView, epochs: [Int], of trainer: Trainer, path: String
  ) throws(GraftError) -> [Int: GraftReport] {
    if epochs.isEmpty { return [:] }
    guard let first = trainer.members.first else { return [:] }
    let plan = try first.network.graftPlan()
    let layers = plan.entries.indices.filter { plan.entries[$0].role == .layer }
    let networks = trainer.members.count
    guard tensor.type == .float64, tensor.shape == [epochs.count, layers.count, networks, columns],
      let numbers = tensor.data?.assumingMemoryBound(to: Double.self)
    else {
      throw GraftError(.format, "\(path): the reports have shape \(tensor.shape)")
    }
    func whole(_ number: Double) throws(GraftError) -> Int {
      guard let value = Int(exactly: number), value >= 0 else {
        throw GraftError(.format, "\(path): a count in the reports is \(number)")
      }
      return value
    }
    var result: [Int: GraftReport] = [:]
    var at = 0
    for epoch in epochs {
      var rows: [GraftReport.Layer] = []
      for layer in layers {
        var entries: [GraftReport.Entry] = []
        for _ in 0..<networks {
          let n = (0..<columns).map { numbers[at + $0] }
          at += columns
          let source = try whole(n[0])
          guard source < networks else {
            throw GraftError(.format, "\(path): a report names network \(source)")
          }
          entries.append(
            GraftReport.Entry(
              source: source, alpha: n[1], entropyBefore: n[2], entropyAfter: n[3],
              filters: try whole(n[4]), invalidBefore: try whole(n[5]),
              invalidAfter: try whole(n[6]), normBefore: n[7], normAfter: n[8]))
        }
        rows.append(
          GraftReport.Layer(name: plan.entries[layer].name, tensor: layer, networks: entries))
      }
      result[epoch] = GraftReport(layers: rows, networkCount: networks)
    }
    return result
  }
}
