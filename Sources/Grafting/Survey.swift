import GraftKernels
import GraftSupport

/// Measures many tensors in one go: first they are all described, then read.
final class Survey {
  private let counting: Counting
  private var surveys: [gk_survey] = []
  private(set) var measurements: [Measurement] = []

  init(_ counting: Counting) { self.counting = counting }

  /// Adds a tensor, to be measured by `filters`; with `whole`, its entropy too. Returns its place.
  func add(filters: gk_weights, whole: gk_weights? = nil) throws(GraftError) -> Int {
    let measurement = try Measurement(filters)
    measurements.append(measurement)
    var survey = gk_survey()
    survey.filters = filters
    survey.whole = whole ?? filters
    survey.wants_entropy = whole == nil ? 0 : 1
    survey.result = measurement.result
    surveys.append(survey)
    return surveys.count - 1
  }

  /// Reads all of them.
  func run() {
    var description = counting.description
    surveys.withUnsafeMutableBufferPointer {
      gk_survey_all($0.baseAddress, Int64($0.count), &description, Int32(counting.threads))
    }
    for (measurement, survey) in zip(measurements, surveys) { measurement.result = survey.result }
  }

  /// The entropy of the tensor at `place`, whose weights are all finite.
  func entropy(_ place: Int) -> Double { surveys[place].entropy }
}

/// How entropies are counted, and the counters.
final class Counting {
  let threads: Int
  private let bins: Int
  private let compatibility: Bool
  private let counters: Buffer<Int64>

  init(bins: Int, compatibility: Bool, threads: Int) throws(GraftError) {
    self.bins = bins
    self.compatibility = compatibility
    self.threads = threads
    let workers = Int(gk_threads(Int32(threads)))
    counters = try Buffer(
      count: workers * Int(gk_sweep_counters(Int64(bins))), for: "histograms' counters")
  }

  var description: gk_counting {
    gk_counting(
      bins: Int64(bins), compatibility: compatibility ? 1 : 0, counters: counters.pointer)
  }
}
