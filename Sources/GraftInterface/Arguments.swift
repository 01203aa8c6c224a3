import CGraft
import GraftSupport

// How arguments from C are read. Every one of these either gives something checked or throws an
// error that names the argument.

/// Reads options that may be NULL or of another version of the struct: fields that the caller's
/// version lacks keep their defaults. `T`'s first member is its `size_t struct_size`.
func options<T>(_ pointer: UnsafePointer<T>?, defaults: T, name: String) throws(GraftError) -> T {
  guard let pointer else { return defaults }
  let size = UnsafeRawPointer(pointer).load(as: Int.self)
  guard size >= MemoryLayout<Int>.size, size <= 1 << 16 else {
    throw GraftError(
      .invalidArgument,
      "\(name)->struct_size is \(UInt(bitPattern: size)): fill the struct with its _init function first"
    )
  }
  var result = defaults
  withUnsafeMutableBytes(of: &result) {
    $0.baseAddress!.copyMemory(from: pointer, byteCount: min(size, MemoryLayout<T>.size))
  }
  return result
}

/// Writes `value` into the first `size` bytes of a caller's struct and sets its `struct_size`.
func fill<T>(_ pointer: UnsafeMutablePointer<T>?, size: Int, with value: T) {
  guard let pointer, size >= MemoryLayout<Int>.size else { return }
  let written = min(size, MemoryLayout<T>.size)
  withUnsafeBytes(of: value) {
    UnsafeMutableRawPointer(pointer).copyMemory(from: $0.baseAddress!, byteCount: written)
  }
  UnsafeMutableRawPointer(pointer).storeBytes(of: written, as: Int.self)
}

/// Checks a result struct whose `struct_size` the caller has set, before there is a result.
func writable<T>(_ pointer: UnsafeMutablePointer<T>?, _ name: String) throws(GraftError) -> (
  pointer: UnsafeMutablePointer<T>, size: Int
) {
  let pointer = try required(pointer, name)
  let size = UnsafeRawPointer(pointer).load(as: Int.self)
  guard size >= MemoryLayout<Int>.size, size <= 1 << 16 else {
    throw GraftError(
      .invalidArgument,
      "\(name)->struct_size is \(UInt(bitPattern: size)): set it to sizeof of the struct first")
  }
  return (pointer, size)
}

/// Writes a result struct whose `struct_size` the caller has set.
func write<T>(_ value: T, to pointer: UnsafeMutablePointer<T>?, name: String) throws(GraftError) {
  let (pointer, size) = try writable(pointer, name)
  fill(pointer, size: size, with: value)
}

/// A pointer that may not be NULL.
func required<P>(_ pointer: P?, _ name: String) throws(GraftError) -> P {
  guard let pointer else { throw GraftError(.invalidArgument, "\(name) is NULL") }
  return pointer
}

/// A size_t as an Int.
func size(_ value: Int, _ name: String, in range: ClosedRange<Int>) throws(GraftError) -> Int {
  guard range.contains(value) else {
    throw GraftError(
      .invalidArgument,
      "\(name) is \(UInt(bitPattern: value)); allowed are \(range.lowerBound) to \(range.upperBound)"
    )
  }
  return value
}

/// A number from 0 on of one of `count` things, of which there may be none.
func ordinal(_ value: Int, _ name: String, of count: Int) throws(GraftError) -> Int {
  guard count > 0 else {
    throw GraftError(.invalidArgument, "\(name) is \(UInt(bitPattern: value)), and there is none")
  }
  return try size(value, name, in: 0...count - 1)
}

/// An integer within a range.
func integer(_ value: some FixedWidthInteger, _ name: String, in range: ClosedRange<Int>)
  throws(GraftError) -> Int
{
  guard let number = Int.checked(value), range.contains(number) else {
    throw GraftError(
      .invalidArgument,
      "\(name) is \(value); allowed are \(range.lowerBound) to \(range.upperBound)")
  }
  return number
}

/// A 0 or 1.
func flag(_ value: Int32, _ name: String) throws(GraftError) -> Bool {
  try integer(value, name, in: 0...1) == 1
}

/// A finite number within a range.
func number(_ value: Double, _ name: String, in range: ClosedRange<Double>) throws(GraftError)
  -> Double
{
  guard value.isFinite, range.contains(value) else {
    throw GraftError(
      .invalidArgument,
      range.upperBound == .greatestFiniteMagnitude
        ? "\(name) is \(value); it must be finite and at least \(range.lowerBound)"
        : "\(name) is \(value); allowed are \(range.lowerBound) to \(range.upperBound)")
  }
  return value
}

/// Every finite number from 0 on.
let nonNegative = 0.0...Double.greatestFiniteMagnitude

/// A thread count: 0 means "what OpenMP would take".
func threadCount(_ value: Int32, _ name: String = "threads") throws(GraftError) -> Int {
  try integer(value, name, in: 0...256)
}

/// UTF-8 text that may not be NULL.
func text(_ pointer: UnsafePointer<CChar>?, _ name: String) throws(GraftError) -> String {
  guard let text = String(validatingCString: try required(pointer, name)) else {
    throw GraftError(.invalidArgument, "\(name) is not valid UTF-8")
  }
  return text
}

/// A caller's array, checked. `label` names it in messages where it has no name of its own.
func tensor(_ pointer: UnsafePointer<graft_tensor>?, _ label: String) throws(GraftError)
  -> TensorView
{
  let none = graft_tensor(
    struct_size: MemoryLayout<graft_tensor>.size, name: nil, data: nil, dtype: GRAFT_FLOAT32,
    rank: 0, shape: nil, strides: nil)
  let given = try options(try required(pointer, label), defaults: none, name: label)
  var name = label
  if let own = given.name {
    guard let valid = String(validatingCString: own) else {
      throw GraftError(.invalidArgument, "\(label): its name is not valid UTF-8")
    }
    if !valid.isEmpty { name = valid }
  }
  guard let type = ElementType(rawValue: given.dtype.rawValue) else {
    throw GraftError(
      .invalidArgument, "\(name): dtype \(given.dtype.rawValue) is not a graft_dtype")
  }
  let rank = try integer(given.rank, "\(name): rank", in: 0...Int(GRAFT_MAX_RANK))
  var shape: [Int] = []
  var strides: [Int]? = nil
  if rank > 0 {
    let dimensions = try required(given.shape, "\(name): shape")
    shape = (0..<rank).map { Int(dimensions[$0]) }
    if let steps = given.strides { strides = (0..<rank).map { Int(steps[$0]) } }
  }
  return try TensorView(name: name, data: given.data, type: type, shape: shape, strides: strides)
}

/// `count` descriptions that lie `stride` bytes apart.
func tensors(
  _ pointer: UnsafePointer<graft_tensor>?, stride: Int, count: Int, _ label: String
) throws(GraftError) -> [TensorView] {
  let first = UnsafeRawPointer(try required(pointer, label))
  _ = try size(stride, "stride", in: MemoryLayout<Int>.size...1 << 16)
  _ = try size(count, "count", in: 1...1 << 20)
  guard stride % MemoryLayout<graft_tensor>.alignment == 0 else {
    throw GraftError(.invalidArgument, "stride is \(stride); it must be sizeof(graft_tensor)")
  }
  var result: [TensorView] = []
  result.reserveCapacity(count)
  for index in 0..<count {
    let one = (first + index * stride).assumingMemoryBound(to: graft_tensor.self)
    result.append(try tensor(one, "\(label)[\(index)]"))
  }
  return result
}
