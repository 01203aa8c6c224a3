import GraftKernels
import GraftSupport

/// self <- alpha self + (1 - alpha) other, in place : products and sum in float64, rounded once.
///
/// - Parameters:
///   - alpha: 0 to 1.
///   - threads: 0 takes what OpenMP would.
public func blend(
  _ own: TensorView, with other: TensorView, alpha: Double, threads: Int = 0
) throws(GraftError) {
  guard own.shape == other.shape else {
    throw GraftError(.shapeMismatch, "self has shape \(own.shape), and other \(other.shape)")
  }
  guard own.type != .int64, other.type != .int64 else {
    try own.checkMeasurable()
    return try other.checkMeasurable()
  }
  guard own.type == other.type else {
    throw GraftError(
      .shapeMismatch,
      "self holds \(own.type), and other \(other.type); they must be of the same type")
  }
  for (tensor, label) in [(own, "self"), (other, "other")] {
    try tensor.checkMeasurable()
    let measurement = try Measurement(tensor.wholeView())
    measurement.measure(threads: threads)
    guard measurement.isFinite else { throw tensor.notFiniteError(label) }
  }
  try own.checkWritable()
  let places = [
    Place(network: 0, tensor: 0, view: own), Place(network: 1, tensor: 0, view: other),
  ]
  if places[0].isSame(as: places[1]) { return }
  guard sharedPlaces(places).isEmpty else {
    throw GraftError(.invalidArgument, "self and other share a part of their memory")
  }
  let row = MixRow(
    receiver: 0, coefficient: Coefficient(alpha), shares: [.init(network: 1, weight: 1)])
  let views = [own.wholeView(), other.wholeView()]
  let mix = MixBatch(
    networks: 2, try Counting(bins: 1, compatibility: false, threads: threads))
  try mix.add(from: views, to: views, rows: [row], written: nil)
  try mix.prepare()
  mix.run()
}
