import GraftSupport
import Grafting

// How much information a tensor's weights carry (paper, section 3).

extension Tensor {
  /// H = -sum p ln p over equal bins of the weights' range, in nats; 0 for constant weights.
  public func entropy(bins: Int = 10) throws(GraftError) -> Double {
    let result = try information(bins: bins).entropy(of: view)
    return withExtendedLifetime(self) { result }
  }

  /// The entropy of every filter by itself, each over its own range.
  public func filterEntropies(bins: Int = 10) throws(GraftError) -> [Double] {
    let result = try information(bins: bins).filterEntropies(of: view)
    return withExtendedLifetime(self) { array(of: result) }
  }

  /// The l1 norm of every filter.
  public func filterNorms() throws(GraftError) -> [Double] {
    let result = try information().filterNorms(of: view)
    return withExtendedLifetime(self) { array(of: result) }
  }

  /// Which filters are invalid: those whose l1 norm is under `threshold`.
  public func invalidFilters(under threshold: Double = 0.1) throws(GraftError) -> [Bool] {
    try filterNorms().map { $0 < threshold }
  }

  /// self <- alpha self + (1 - alpha) other: in float64, rounded once.
  ///
  /// - Parameter alpha: 0 to 1.
  public mutating func blend(with other: Tensor, alpha: Double) throws(GraftError) {
    guard alpha >= 0, alpha <= 1 else {
      throw GraftError(.invalidArgument, "alpha is \(alpha); allowed are 0 to 1")
    }
    try makeUnique()
    try Grafting.blend(view, with: other.view, alpha: alpha)
    withExtendedLifetime((self, other)) {}
  }

  private func information(bins: Int = 10) -> Information {
    var result = Information()
    result.bins = bins
    return result
  }

  private func array<T>(of buffer: Buffer<T>) -> [T] { (0..<buffer.count).map { buffer[$0] } }
}

/// The share of its own weights that a layer keeps: (a / pi) arctan(c (own - other)) + 1/2.
///
/// - Parameters:
///   - own: information of the receiving layer, finite.
///   - other: information of the giving layer, finite.
///   - a: range, 0 to 1.
///   - c: steepness, finite and >= 0.
public func coefficient(own: Double, other: Double, a: Double = 0.4, c: Double = 500)
  throws(GraftError) -> Double
{
  guard own.isFinite, other.isFinite, a >= 0, a <= 1, c >= 0, c.isFinite else {
    throw GraftError(
      .invalidArgument,
      "own is \(own), other \(other), a \(a), c \(c); all must be finite, a 0 to 1, c at least 0")
  }
  return Coefficient(own: own, other: other, a: a, c: c).alpha
}
