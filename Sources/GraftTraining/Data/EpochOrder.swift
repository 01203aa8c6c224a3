import GraftSupport

/// The order in which an epoch goes through a data set's images: every image once, shuffled by
/// (seed, epoch) alone.
public final class EpochOrder: @unchecked Sendable {
  /// Image numbers, in order.
  public let indices: Buffer<Int64>

  public var count: Int { indices.count }

  /// - Parameters:
  ///   - count: the number of images.
  ///   - epoch: from 1.
  public init(count: Int, seed: UInt64, epoch: Int) throws(GraftError) {
    guard UInt32(exactly: count) != nil else {
      throw GraftError(.unsupported, "\(count) images cannot be shuffled; at most 4294967295 can")
    }
    indices = try Buffer(count: count, for: "the order of \(count) images")
    for index in 0..<count { indices[index] = Int64(index) }
    var random = RandomStream(
      seed: seed, purpose: .shuffle, UInt64(truncatingIfNeeded: epoch))
    // Fisher and Yates, as Durstenfeld wrote it down.
    for last in stride(from: count - 1, to: 0, by: -1) {
      let other = Int(random.below(UInt32(last + 1)))
      (indices[last], indices[other]) = (indices[other], indices[last])
    }
  }

  /// Number of batches in the epoch; the last one may be smaller. `size` is at least 1.
  public func batches(of size: Int) -> Int { count == 0 ? 0 : (count - 1) / max(size, 1) + 1 }

  /// The images of batch `number`, counted from 0: the first of them, and how many there are.
  public func batch(_ number: Int, of size: Int) -> (samples: UnsafePointer<Int64>, count: Int) {
    let (first, overflow) = number.multipliedReportingOverflow(by: size)
    guard number >= 0, size > 0, !overflow, first < count else {
      return (UnsafePointer(indices.pointer), 0)
    }
    return (UnsafePointer(indices.pointer + first), min(size, count - first))
  }
}
