import Glibc
import GraftSupport

/// The share of its own weights that a layer keeps in a blend, and what is left of 1.
///
/// Rounded once to float32 on the side >= 1/2; the other side is its complement, which is then a
/// float32 too. So the two shares of two networks swap exactly, and products with float32 weights
/// are exact in float64: two networks that graft each other come out equal, bit for bit, and equal
/// weights stay what they are.
public struct Coefficient: Equatable, Sendable {
  public let alpha: Double
  public var complement: Double { 1 - alpha }

  public static let half = Coefficient(0.5)

  /// - Parameter alpha: 0 to 1.
  public init(_ alpha: Double) {
    self.alpha = alpha >= 0.5 ? Double(Float(alpha)) : 1 - Double(Float(1 - alpha))
  }

  /// A share that has been rounded so before.
  init(exactly alpha: Double) { self.alpha = alpha }

  /// alpha = own / (own + other), 1/2 where both are 0: by the scales of a filter, both >= 0.
  init(own: Double, other: Double) {
    // Halved: the sum of the two largest numbers stays finite.
    let (larger, sum) = (max(own, other) / 2, own / 2 + other / 2)
    let rounded = sum > 0 ? Double(Float(larger / sum)) : 0.5
    alpha = own >= other ? rounded : 1 - rounded
  }

  /// alpha = (a / pi) arctan(c (own - other)) + 1/2: the paper's adaptive weighting, with the
  /// 1 / pi that its own bounds need and its published code has.
  ///
  /// - Parameters:
  ///   - a: range, 0 to 1.
  ///   - c: steepness, >= 0.
  ///   - compatibility: rounds alpha to two decimals, as the published code does.
  public init(own: Double, other: Double, a: Double, c: Double, compatibility: Bool = false) {
    let difference = c == 0 ? 0 : abs(own - other)
    var larger = a / Double.pi * atan(c * difference) + 0.5
    if compatibility { larger = (larger * 100).rounded(.toNearestOrEven) / 100 }
    let rounded = Double(Float(min(larger, 1)))
    alpha = own >= other ? rounded : 1 - rounded
  }
}
