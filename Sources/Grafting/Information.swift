import GraftKernels
import GraftSupport

/// How information is measured, and the measures of a single tensor (paper, section 3.2): entropy
/// of a layer and of its filters, l1 norms of filters.
public struct Information: Sendable {
  /// The numbers of bins that a histogram may have.
  public static let allowedBins = 1...65536

  /// Equal bins over the range of the weights.
  public var bins = 10
  /// Bins as in the authors' published code: edges in float32, the maximum left out of the last.
  public var compatibility = false
  /// The dimension along which filters lie.
  public var filterAxis = 0
  /// 0 takes what OpenMP would. Results are the same at any count.
  public var threads = 0

  public init() {}

  /// H = -sum p ln p over the bins, in nats; 0 for a constant tensor.
  public func entropy(of weights: TensorView) throws(GraftError) -> Double {
    try histogram(of: weights).entropy
  }

  /// How many weights fall in each bin.
  public func counts(of weights: TensorView) throws(GraftError) -> Buffer<Int64> {
    try histogram(of: weights).counts
  }

  private func histogram(of weights: TensorView) throws(GraftError)
    -> (counts: Buffer<Int64>, entropy: Double)
  {
    try check()
    try weights.checkMeasurable()
    let measurement = try Measurement(weights.wholeView())
    measurement.measure(threads: threads)
    guard measurement.isFinite else { throw weights.notFiniteError(weights.name) }
    let histogram = try Histogram(bins: bins, compatibility: compatibility, threads: threads)
    let entropy = histogram.entropy(
      of: measurement.view, low: measurement.result.low, high: measurement.result.high)
    return (histogram.counts, entropy)
  }

  /// The entropy of every filter by itself, each over its own range.
  public func filterEntropies(of weights: TensorView) throws(GraftError) -> Buffer<Double> {
    try check()
    try weights.checkMeasurable(axis: filterAxis)
    var view = weights.filterView(axis: filterAxis)
    let entropies = try Buffer<Double>(count: Int(view.filters), for: "filter entropies")
    let workers = Int(gk_threads(Int32(threads)))
    let counters = try Buffer<Int64>(
      count: workers * 2 * Int(gk_bin_counters(Int64(bins))), for: "histograms' counters")
    gk_filter_entropies(
      &view, Int64(bins), compatibility ? 1 : 0, Int32(threads), counters.pointer,
      entropies.pointer)
    for filter in 0..<entropies.count where entropies[filter].isNaN {
      throw weights.notFiniteError(weights.name)
    }
    return entropies
  }

  /// The l1 norm of every filter: the sum of |w|, in float64.
  public func filterNorms(of weights: TensorView) throws(GraftError) -> Buffer<Double> {
    try check()
    try weights.checkMeasurable(axis: filterAxis)
    let measurement = try Measurement(weights.filterView(axis: filterAxis))
    measurement.measure(threads: threads)
    guard measurement.isFinite else { throw weights.notFiniteError(weights.name) }
    return measurement.norms
  }

  /// Marks the invalid filters, those whose l1 norm is under `threshold`, with 1.
  public func invalidFilters(of weights: TensorView, under threshold: Double)
    throws(GraftError) -> Buffer<UInt8>
  {
    let norms = try filterNorms(of: weights)
    let mask = try Buffer<UInt8>(count: norms.count, for: "a mask of filters")
    for filter in 0..<norms.count { mask[filter] = norms[filter] < threshold ? 1 : 0 }
    return mask
  }

  private func check() throws(GraftError) {
    guard Self.allowedBins.contains(bins) else {
      throw GraftError(.invalidArgument, "bins is \(bins); allowed are 1 to 65536")
    }
    guard (0...256).contains(threads) else {
      throw GraftError(.invalidArgument, "threads is \(threads); allowed are 0 to 256")
    }
  }
}
