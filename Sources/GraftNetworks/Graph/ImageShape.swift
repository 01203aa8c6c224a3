/// The shape of one image, or of what a layer makes of it.
public struct ImageShape: Equatable, Sendable, CustomStringConvertible {
  public var channels: Int
  public var height: Int
  public var width: Int

  public init(channels: Int, height: Int, width: Int) {
    self.channels = channels
    self.height = height
    self.width = width
  }

  /// Numbers in one image.
  public var count: Int { channels * height * width }
  /// Pixels in one image.
  public var pixels: Int { height * width }

  public var description: String { "\(channels) x \(height) x \(width)" }

  /// The largest number that a dimension may be.
  public static let largestDimension = 65536
  /// The most numbers that one image may have anywhere in a network.
  public static let largestCount = 1 << 28

  /// Whether every dimension is at least 1 and all of it stays within the limits above.
  var isAllowed: Bool {
    let range = 1...ImageShape.largestDimension
    guard range.contains(channels), range.contains(height), range.contains(width) else {
      return false
    }
    return channels * height * width <= ImageShape.largestCount
  }
}
