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
  // Flat lists of what all tensors' descriptions point to; they point once the lists are complete.
  private var views: [gk_weights] = []
  private var rows: [gk_mix_row] = []
  private var sources: [Int32] = []
  private var weights: [Double] = []
  private var targets: [Int32] = []
  private var measurements: [Measurement] = []
  private var items: [Item] = []
  private var results: [gk_measurement] = []
  private var entropies: [Double] = []
  private var scratch: Buffer<Float>?
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
  }

  /// - Parameter networks: how many there are.
  init(networks: Int, _ counting: Counting) {
    self.networks = networks
    self.counting = counting
  }

  /// Adds one tensor of every network.
  ///
  /// - Parameters:
  ///   - from: it in every network.
  ///   - to: what the rows' targets count in.
  ///   - written: if the results are to be measured, where each row's lies as a whole.
  /// - Returns: the place of the first row's result.
  @discardableResult
  func add(from: [gk_weights], to: [gk_weights], rows: [MixRow], written: [gk_weights]?)
    throws(GraftError) -> Int
  {
    let place = measurements.count
    if written != nil {
      for _ in rows { measurements.append(try Measurement(from[0])) }
    }
    items.append(
      Item(
        from: views.count, to: views.count + from.count,
        written: views.count + from.count + to.count, row: self.rows.count, rowCount: rows.count,
        measurement: written == nil ? nil : place))
    views += from + to + (written ?? [])
    for row in rows {
      self.rows.append(
        gk_mix_row(
          terms: Int32(row.weights.count), targets: Int32(row.targets.count), source: nil,
          weight: nil, target: nil))
      sources += row.networks
      weights += row.weights
      targets += row.targets.map(Int32.init)
    }
    mostRows = max(mostRows, rows.count)
    return place
  }

  private var scratchSize: Int { Int(gk_mix_scratch(Int64(networks), Int64(mostRows))) }

  /// Takes the memory that `run` needs.
  func prepare() throws(GraftError) {
    let workers = Int(gk_threads(Int32(counting.threads)))
    scratch = try Buffer(count: workers * scratchSize, for: "a graft")
    results = measurements.map(\.result)
    entropies = [Double](repeating: 0, count: measurements.count)
  }

  /// Mixes and measures; after `prepare`.
  func run() {
    guard let scratch else { return }
    var description = counting.description
    views.withUnsafeBufferPointer { views in
      sources.withUnsafeBufferPointer { sources in
        weights.withUnsafeBufferPointer { weights in
          targets.withUnsafeBufferPointer { targets in
            connectRows(sources, weights, targets)
            rows.withUnsafeBufferPointer { rows in
              results.withUnsafeMutableBufferPointer { results in
                entropies.withUnsafeMutableBufferPointer { entropies in
                  let grafts = items.map { item in
                    gk_graft(
                      mix: gk_mix(
                        networks: Int64(networks), rows: Int64(item.rowCount),
                        from: views.baseAddress.map { $0 + item.from },
                        to: views.baseAddress.map { $0 + item.to },
                        row: rows.baseAddress.map { $0 + item.row }, scratch: nil),
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
      term += Int(rows[row].terms)
      target += Int(rows[row].targets)
    }
  }

  /// The result at a place that `add` returned, or after it.
  func result(_ place: Int) -> Result {
    Result(measurement: measurements[place], entropy: entropies[place])
  }
}
