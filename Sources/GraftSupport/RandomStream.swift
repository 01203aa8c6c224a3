import Glibc

/// A sequence of random numbers that is a function of what it is for: a seed, a purpose, and up to
/// two numbers (an epoch and an image, a network and a tensor). Streams that differ in any of them
/// are independent, and making one costs two evaluations of `Philox`.
///
/// Words, uniform numbers and `below` are the same on any machine. `normal` and `beta` go through
/// the C library's logarithm and cosine and may differ in the last bit of a double between
/// processors.
public struct RandomStream {
  /// What numbers are drawn for. The numbers never change: they decide what a seed gives.
  public enum Purpose: UInt32, Sendable {
    case initialisation = 1
    case shuffle = 2
    case augmentation = 3
    case noise = 4
    case erasing = 5
    case mixing = 6
    case dropout = 8
  }

  private let key: Philox.Key
  private var counter: Philox.Block
  private var block = Philox.Block()
  private var used = 4
  private var spare: Double?

  /// - Parameters:
  ///   - first: for instance the epoch.
  ///   - second: for instance the image's number.
  public init(seed: UInt64, purpose: Purpose, _ first: UInt64 = 0, _ second: UInt64 = 0) {
    self.init(family: Family(seed: seed, purpose: purpose, first), second)
  }

  /// One stream of a family.
  public init(family: Family, _ second: UInt64) {
    key = family.key
    let (low, high) = words(of: second)
    counter = Philox.Block(0, 0, low, high)
  }

  /// The streams that share all but the last number: making many of them costs one evaluation each.
  public struct Family: Sendable {
    public let key: Philox.Key

    public init(seed: UInt64, purpose: Purpose, _ first: UInt64 = 0) {
      let (seedLow, seedHigh) = words(of: seed)
      let (low, high) = words(of: first)
      // The seed and all but the last number make the key; the counter of this block ends in 1s,
      // a purpose that no stream has.
      let block = Philox.block(
        counter: Philox.Block(low, high, purpose.rawValue, .max),
        key: Philox.Key(seedLow, seedHigh))
      key = Philox.Key(block.x, block.y)
    }
  }

  /// The next 32 random bits.
  public mutating func next() -> UInt32 {
    if used == 4 {
      block = Philox.block(counter: counter, key: key)
      counter.x &+= 1
      if counter.x == 0 { counter.y &+= 1 }
      used = 0
    }
    defer { used += 1 }
    return block[used]
  }

  /// A number in [0, 1), a multiple of 2^-53.
  public mutating func uniform() -> Double {
    let (high, low) = (UInt64(next()), UInt64(next()))
    return Double((high << 32 | low) >> 11) * 0x1p-53
  }

  /// A number between two, each as likely as the others.
  public mutating func uniform(in range: ClosedRange<Double>) -> Double {
    range.lowerBound + (range.upperBound - range.lowerBound) * uniform()
  }

  /// A number of the normal distribution with mean 0 and deviation 1 (Box and Muller).
  public mutating func normal() -> Double {
    if let value = spare {
      spare = nil
      return value
    }
    let radius = (-2 * log(1 - uniform())).squareRoot()  // 1 - uniform() is in (0, 1]
    let angle = 2 * Double.pi * uniform()
    spare = radius * sin(angle)
    return radius * cos(angle)
  }

  /// A number of the distribution Beta(a, a), 0 to 1; a > 0.
  public mutating func beta(_ a: Double) -> Double {
    // Of two gamma variates, by their logarithms: for a small a both may be nearer to 0 than a
    // number can say.
    let distance = logGamma(a) - logGamma(a)
    return distance.isNaN ? Double(next() >> 31) : 1 / (1 + exp(-distance))
  }

  /// The logarithm of a number of the distribution Gamma(a) (Marsaglia and Tsang, "A Simple Method
  /// for Generating Gamma Variables", 2000).
  private mutating func logGamma(_ a: Double) -> Double {
    if a < 1 { return logGamma(a + 1) + log(1 - uniform()) / a }
    let d = a - 1.0 / 3
    let c = 1 / (9 * d).squareRoot()
    while true {
      let x = normal()
      let root = 1 + c * x
      guard root > 0 else { continue }
      let v = root * root * root
      if log(1 - uniform()) < x * x / 2 + d - d * v + d * log(v) { return log(d * v) }
    }
  }

  /// A number from 0 to `limit` - 1, each as likely as the others (Lemire, "Fast Random Integer
  /// Generation in an Interval", 2019). 0 for a limit of 0.
  public mutating func below(_ limit: UInt32) -> UInt32 {
    guard limit > 1 else { return 0 }
    var (high, low) = next().multipliedFullWidth(by: limit)
    if low < limit {
      let bias = (0 &- limit) % limit
      while low < bias { (high, low) = next().multipliedFullWidth(by: limit) }
    }
    return high
  }
}

private func words(of number: UInt64) -> (low: UInt32, high: UInt32) {
  (UInt32(truncatingIfNeeded: number), UInt32(truncatingIfNeeded: number >> 32))
}
