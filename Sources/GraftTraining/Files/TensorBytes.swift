import Glibc
import GraftSupport

extension TensorView {
  /// Hands the elements in row-major order to `body`, as raw bytes in chunks: the memory itself
  /// where it has no gaps, gathered pieces otherwise.
  func forEachChunk(_ body: (UnsafeRawPointer, Int) throws(GraftError) -> Void)
    throws(GraftError)
  {
    guard let data, count > 0 else { return }
    if isContiguous { return try body(data, count * type.size) }
    let chunk = min(count, 1 << 17)
    let buffer = try Buffer<UInt8>(count: chunk * type.size, for: "the elements of \(name)")
    var position = [Int](repeating: 0, count: shape.count)
    var first = 0
    while first < count {
      let length = min(chunk, count - first)
      gather(length, from: data, at: &position, into: buffer.pointer)
      try body(buffer.pointer, length * type.size)
      first += length
    }
  }

  /// Copies `length` elements from `position` on, and moves it behind them.
  private func gather(
    _ length: Int, from data: UnsafeRawPointer, at position: inout [Int],
    into bytes: UnsafeMutableRawPointer
  ) {
    var offset = zip(position, strides).reduce(0) { $0 + $1.0 * $1.1 }
    for index in 0..<length {
      memcpy(bytes + index * type.size, data + offset * type.size, type.size)
      for axis in shape.indices.reversed() {
        position[axis] += 1
        offset += strides[axis]
        if position[axis] < shape[axis] { break }
        offset -= shape[axis] * strides[axis]
        position[axis] = 0
      }
    }
  }
}
