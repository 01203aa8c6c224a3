/// The type of an array's elements; the numbers are those of `graft_dtype`.
public enum ElementType: UInt32, Sendable {
  case float32 = 0
  case float64 = 1
  case float16 = 2
  case bfloat16 = 3
  case int64 = 4

  /// Bytes of one element.
  public var size: Int {
    switch self {
    case .float32: 4
    case .float64, .int64: 8
    case .float16, .bfloat16: 2
    }
  }
}

/// An array in somebody's memory, described and checked: where it lies, its shape, its strides in
/// elements. It does not own the memory.
public struct TensorView {
  public let name: String
  public let data: UnsafeMutableRawPointer?
  public let type: ElementType
  public let shape: [Int]
  public let strides: [Int]
  /// Number of elements; the product of the shape, 1 for rank 0.
  public let count: Int

  /// - Throws: `.invalidArgument` for a negative dimension or stride, a NULL pointer to something,
  ///   a misaligned pointer, or sizes that overflow.
  public init(
    name: String, data: UnsafeMutableRawPointer?, type: ElementType, shape: [Int],
    strides: [Int]? = nil
  ) throws(GraftError) {
    guard let count = product(shape), product([count, type.size]) != nil else {
      throw GraftError(
        .invalidArgument, "\(name): shape \(shape) is negative or too large; dimensions are >= 0")
    }
    let strides = strides ?? TensorView.rowMajor(shape)
    guard strides.count == shape.count, strides.allSatisfy({ $0 >= 0 }) else {
      throw GraftError(
        .invalidArgument, "\(name): strides \(strides) must be one per dimension and >= 0")
    }
    if count > 0 {
      guard let data else {
        throw GraftError(.invalidArgument, "\(name): data is NULL, and the shape is \(shape)")
      }
      guard UInt(bitPattern: data) % UInt(type.size) == 0 else {
        throw GraftError(
          .invalidArgument, "\(name): data must be aligned to its elements, \(type.size) bytes")
      }
      var extent = 1
      for (dimension, stride) in zip(shape, strides) {
        let (reach, overflow) = (dimension - 1).multipliedReportingOverflow(by: stride)
        let (next, carry) = extent.addingReportingOverflow(reach)
        guard !overflow, !carry, product([next, type.size]) != nil else {
          throw GraftError(.invalidArgument, "\(name): strides \(strides) reach too far")
        }
        extent = next
      }
    }
    self.name = name
    self.data = data
    self.type = type
    self.shape = shape
    self.strides = strides
    self.count = count
  }

  /// The strides of an array that is row-major without gaps; 0 where a product would overflow,
  /// which only a shape with a 0 in it reaches.
  public static func rowMajor(_ shape: [Int]) -> [Int] {
    var strides = [Int](repeating: 1, count: shape.count)
    var step = 1
    for axis in shape.indices.reversed() {
      strides[axis] = step
      step = product([step, shape[axis]]) ?? 0
    }
    return strides
  }

  /// Checks that no two elements can share memory, as an array that is written must be.
  public func checkWritable() throws(GraftError) {
    if count == 0 { return }
    var reach = 1
    let dimensions = zip(shape, strides).filter { $0.0 > 1 }.sorted { $0.1 < $1.1 }
    for (dimension, stride) in dimensions {
      guard stride >= reach else {
        throw GraftError(
          .invalidArgument,
          "\(name): with shape \(shape) and strides \(strides) elements share memory, and it would "
            + "be written")
      }
      reach += (dimension - 1) * stride
    }
  }

  /// Whether the elements lie row-major without gaps (dimensions of 1 may have any stride).
  public var isContiguous: Bool {
    if count <= 1 { return true }
    let expected = TensorView.rowMajor(shape)
    return shape.indices.allSatisfy { shape[$0] == 1 || strides[$0] == expected[$0] }
  }
}
