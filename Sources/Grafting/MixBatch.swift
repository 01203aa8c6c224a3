import GraftKernels
import GraftSupport

/// Mixes many tensors in one go: first they are all described, which can fail for want of memory,
/// then written, which cannot.
final class MixBatch {
  /// One result of one tensor, after the run.
  struct Result {
    let measurement: Measurement
    let entropy: Double
  }

  private let counting: Counting
  private let networks: Int
  private let countsUnmoved: Bool
  // Flat lists of what all tensors' descriptions point to; they point once the lists are complete.
  private var views: [gk_weights] = []
  private var rows: [gk_mix_row] = []
  private var sources: [Int32] = []
  private var weights: [Double] = []
  private var targets: [Int32] = []
  private var receivers: [Int32] = []
  private var scales: [RowScales] = []
  private var measurements: [Measurement] = []
  private var items: [Item] = []
  private var results: [gk_measurement] = []
  private var entropies: [Double] = []
  private var scratch: Buffer<Double>?
  private var scaleTable: Buffer<gk_scales>?
  private var unmovedCounts: Buffer<Int64>?
  private var mostRows = 0

  /// Where a tensor's parts begin in the flat lists.
  private struct Item {
    let from: Int
    let to: Int
    let written: Int
    let row: Int
    let rowCount: Int
    /// nil where results are not measured.
    let measurement: Int?
    let keepsZeros: Bool
    /// nil where a row has one coefficient.
    let scales: Int?
  }

  /// - Parameters:
  ///   - networks: how many there are.
  ///   - scratch: shared by batches that do not run at once; nil for one of its own.
  ///   - countsUnmoved: whether to count what half types could not move.
  init(
    networks: Int, _ counting: Counting, scratch: Buffer<Double>? = nil, countsUnmoved: Bool = true
  ) {
    self.networks = networks
    self.countsUnmoved = countsUnmoved
    self.counting = counting
    self.scratch = scratch
  }

  /// Scratch memory for batches of a row a tensor.
  static func scratch(networks: Int, _ counting: Counting) throws(GraftError) -> Buffer<Double> {
    try Buffer(
      count: Int(gk_threads(Int32(counting.threads))) * Int(gk_mix_scratch(Int64(networks), 1)),
      for: "a graft")
  }

  /// Adds one tensor of every network.
  ///
  /// - Parameters:
  ///   - from: it in every network.
  ///   - to: what the rows' targets count in.
  ///   - written: if the results are to be measured, where each row's lies as a whole.
  ///   - keepsZeros: what is 0 in its receiver stays it; every row has one target.
  ///   - scales: one a row where coefficients differ within a filter.
  /// - Returns: the place of the first row's result.
  @discardableResult
  func add(
    from: [gk_weights], to: [gk_weights], rows: [MixRow], written: [gk_weights]?,
    keepsZeros: Bool = false, scales: [RowScales]? = nil
  ) throws(GraftError) -> Int {
    let place = measurements.count
    if written != nil {
      for _ in rows { measurements.append(try Measurement(from[0])) }
    }
    items.append(
      Item(
        from: views.count, to: views.count + from.count,
        written: views.count + from.count + to.count, row: self.rows.count, rowCount: rows.count,
        measurement: written == nil ? nil : place, keepsZeros: keepsZeros,
        scales: scales.map { _ in self.scales.count }))
    self.scales += scales ?? []
    views += from + to + (written ?? [])
    for row in rows {
      self.rows.append(
        gk_mix_row(
          terms: Int32(row.weights.count), targets: Int32(row.targets.count), source: nil,
          weight: nil, target: nil, receiver: nil))
      sources += row.networks
      weights += row.weights
      targets += row.targets.map(Int32.init)
      receivers += row.receivers.map(Int32.init)
    }
    mostRows = max(mostRows, rows.count)
    return place
  }

  private var scratchSize: Int { Int(gk_mix_scratch(Int64(networks), Int64(mostRows))) }

  /// Takes the memory that `run` needs.
  func prepare() throws(GraftError) {
    let workers = Int(gk_threads(Int32(counting.threads)))
    if scratch == nil { scratch = try Buffer(count: workers * scratchSize, for: "a graft") }
    unmovedCounts = try Buffer(count: items.count * networks, for: "counts of a graft")
    let table = try Buffer<gk_scales>(count: scales.count, for: "coefficients of filters")
    for (index, row) in scales.enumerated() { table[index] = row.description }
    scaleTable = table
    results = measurements.map(\.result)
    entropies = [Double](repeating: 0, count: measurements.count)
  }

  /// Mixes and measures; after `prepare`.
  func run() {
    guard let scratch, let unmovedCounts else { return }
    var description = counting.description
    views.withUnsafeBufferPointer { views in
      sources.withUnsafeBufferPointer { sources in
        weights.withUnsafeBufferPointer { weights in
          (targets + receivers).withUnsafeBufferPointer { targets in
            connectRows(sources, weights, targets)
            rows.withUnsafeBufferPointer { rows in
              results.withUnsafeMutableBufferPointer { results in
                entropies.withUnsafeMutableBufferPointer { entropies in
                  let grafts = items.enumerated().map { index, item in
                    gk_graft(
                      mix: gk_mix(
                        networks: Int64(networks), rows: Int64(item.rowCount),
                        from: views.baseAddress.map { $0 + item.from },
                        to: views.baseAddress.map { $0 + item.to },
                        row: rows.baseAddress.map { $0 + item.row },
                        keep_zeros: item.keepsZeros ? 1 : 0,
                        unmoved: countsUnmoved ? unmovedCounts.pointer + index * networks : nil,
                        scales: item.scales.flatMap { place in
                          scaleTable.map { UnsafePointer($0.pointer + place) }
                        }, scratch: nil),
                      results: item.measurement.flatMap { place in
                        results.baseAddress.map { $0 + place }
                      },
                      written: views.baseAddress.map { $0 + item.written },
                      entropies: item.measurement.flatMap { place in
                        entropies.baseAddress.map { $0 + place }
                      })
                  }
                  gk_graft_all(
                    grafts, Int64(grafts.count), &description, scratch.pointer,
                    Int64(scratchSize), Int32(counting.threads))
                }
              }
            }
          }
        }
      }
    }
    for (measurement, result) in zip(measurements, results) { measurement.result = result }
  }

  private func connectRows(
    _ sources: UnsafeBufferPointer<Int32>, _ weights: UnsafeBufferPointer<Double>,
    _ targets: UnsafeBufferPointer<Int32>
  ) {
    var (term, target) = (0, 0)
    for row in rows.indices {
      rows[row].source = sources.baseAddress.map { $0 + term }
      rows[row].weight = weights.baseAddress.map { $0 + term }
      rows[row].target = targets.baseAddress.map { $0 + target }
      rows[row].receiver = targets.baseAddress.map { $0 + self.targets.count + target }
      term += Int(rows[row].terms)
      target += Int(rows[row].targets)
    }
  }

  /// How many elements of the `index`-th tensor added could not move in network `network`: half
  /// types only.
  func unmoved(_ index: Int, _ network: Int) -> Int {
    Int(unmovedCounts?[index * networks + network] ?? 0)
  }

  /// How many tensors have been added.
  var count: Int { items.count }

  /// The result at a place that `add` returned, or after it.
  func result(_ place: Int) -> Result {
    Result(measurement: measurements[place], entropy: entropies[place])
  }
}
