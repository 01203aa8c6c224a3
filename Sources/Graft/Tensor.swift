import GraftSupport

/// A named float32 array, row-major, with value semantics: copies share memory until one changes.
///
/// A weight's filters lie along its first dimension: a convolution is out x in x height x width.
public struct Tensor: Sendable {
  public let name: String
  public let shape: [Int]
  private var storage: Storage

  /// The memory; written only while one tensor alone refers to it.
  private final class Storage: @unchecked Sendable {
    let buffer: Buffer<Float>

    init(count: Int) throws(GraftError) { buffer = try Buffer(count: count, for: "a tensor") }
  }

  /// - Parameter values: as many as the shape holds; no shape is one value.
  public init(_ name: String, shape: [Int], values: [Float]) throws(GraftError) {
    guard let count = product(shape), count == values.count else {
      throw GraftError(
        .shapeMismatch, "\(name): shape \(shape) does not hold \(values.count) values")
    }
    self.name = name
    self.shape = shape
    storage = try Storage(count: count)
    for index in 0..<count { storage.buffer[index] = values[index] }
  }

  /// Zeros.
  public init(_ name: String, shape: [Int]) throws(GraftError) {
    guard let count = product(shape) else {
      throw GraftError(.invalidArgument, "\(name): shape \(shape) is negative or too large")
    }
    self.name = name
    self.shape = shape
    storage = try Storage(count: count)
  }

  /// A copy of float32 numbers that lie without gaps.
  init(copying view: TensorView) throws(GraftError) {
    try self.init(view.name, shape: view.shape)
    guard view.type == .float32, view.isContiguous else {
      throw GraftError(.unsupported, "\(view.name) is not float32 without gaps")
    }
    if let from = view.data?.assumingMemoryBound(to: Float.self) {
      storage.buffer.pointer.update(from: from, count: view.count)
    }
  }

  public var count: Int { storage.buffer.count }

  /// A copy of the values, row-major.
  public var values: [Float] {
    [Float](unsafeUninitializedCapacity: count) { copy, initialized in
      for index in 0..<count { copy.initializeElement(at: index, to: storage.buffer[index]) }
      initialized = count
    }
  }

  /// Reads the values where they lie.
  public func withUnsafeBufferPointer<Result, Failure: Error>(
    _ body: (UnsafeBufferPointer<Float>) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    try body(UnsafeBufferPointer(start: storage.buffer.pointer, count: count))
  }

  /// Changes the values where they lie: a training loop works on the memory that is grafted.
  public mutating func withUnsafeMutableBufferPointer<Result>(
    _ body: (UnsafeMutableBufferPointer<Float>) throws -> Result
  ) throws -> Result {
    try makeUnique()
    return try body(UnsafeMutableBufferPointer(start: storage.buffer.pointer, count: count))
  }

  /// Sees to it that this tensor alone refers to its memory.
  mutating func makeUnique() throws(GraftError) {
    if isKnownUniquelyReferenced(&storage) { return }
    let copy = try Storage(count: count)
    copy.buffer.pointer.update(from: storage.buffer.pointer, count: count)
    storage = copy
  }

  /// The memory as the method takes it, valid as long as this tensor and its storage.
  var view: TensorView {
    get throws(GraftError) {
      try TensorView(
        name: name, data: UnsafeMutableRawPointer(storage.buffer.pointer), type: .float32,
        shape: shape)
    }
  }
}
