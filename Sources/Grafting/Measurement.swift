import GraftKernels
import GraftSupport

/// What one pass over a tensor finds out: its range, its filters' l1 norms, their sum.
final class Measurement {
  let view: gk_weights
  let norms: Buffer<Double>
  private let partial: Buffer<Double>
  private let low: Buffer<Double>
  private let high: Buffer<Double>
  /// Points into the buffers above.
  var result: gk_measurement

  init(_ view: gk_weights) throws(GraftError) {
    var view = view
    let tiles = Int(gk_tile_weights(&view).tiles)
    self.view = view
    norms = try Buffer(count: Int(view.filters), for: "filter norms")
    partial = try Buffer(count: tiles, for: "sums of tiles")
    low = try Buffer(count: tiles, for: "ranges of tiles")
    high = try Buffer(count: tiles, for: "ranges of tiles")
    result = gk_measurement()
    result.norms = norms.pointer
    result.partial = partial.pointer
    result.tile_low = low.pointer
    result.tile_high = high.pointer
  }

  /// Reads the tensor.
  func measure(threads: Int) {
    var view = view
    gk_measure(&view, Int32(threads), &result)
  }

  /// Whether every weight is finite: a sum of magnitudes in float64 cannot overflow, but for
  /// weights that are float64 themselves.
  var isFinite: Bool { result.norm.isFinite }

  var filters: Int { norms.count }
  var meanNorm: Double { result.norm / Double(max(filters, 1)) }

  func invalidFilters(under threshold: Double) -> Int {
    var count = 0
    for filter in 0..<filters where norms[filter] < threshold { count += 1 }
    return count
  }
}

/// The counters of a histogram, kept from one tensor to the next.
final class Histogram {
  let bins: Int
  let compatibility: Bool
  let threads: Int
  let counts: Buffer<Int64>
  private let counters: Buffer<Int64>

  init(bins: Int, compatibility: Bool, threads: Int) throws(GraftError) {
    self.bins = bins
    self.compatibility = compatibility
    self.threads = threads
    let workers = Int(gk_threads(Int32(threads)))
    counts = try Buffer(count: bins, for: "a histogram")
    counters = try Buffer(
      count: workers * Int(gk_bin_counters(Int64(bins))), for: "a histogram's counters")
  }

  /// Counts the weights of `view`, which lie from `low` to `high`, and returns their entropy.
  func entropy(of view: gk_weights, low: Double, high: Double) -> Double {
    var view = view
    var description = gk_make_bins(view.type, Int64(bins), compatibility ? 1 : 0, low, high)
    counters.clear()
    gk_count(&view, &description, Int32(threads), counters.pointer, counts.pointer)
    return gk_entropy(
      counts.pointer, Int64(bins), view.filters * view.length, compatibility ? 1 : 0)
  }
}
