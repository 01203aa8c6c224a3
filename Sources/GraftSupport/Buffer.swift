import GraftKernels

/// Memory from the C side, of a size that a caller or a file decided: making one can fail softly,
/// where Swift's own arrays would end the process. Starts as zeros, 64-byte aligned.
public final class Buffer<Element: BitwiseCopyable> {
  public let count: Int
  public let pointer: UnsafeMutablePointer<Element>

  /// - Throws: `.outOfMemory` if the memory cannot be had; `.invalidArgument` for a negative count.
  public init(count: Int, for purpose: @autoclosure () -> String = "working memory")
    throws(GraftError)
  {
    guard count >= 0 else {
      throw GraftError(.invalidArgument, "\(purpose()): negative size \(count)")
    }
    guard let memory = gk_allocate(count, MemoryLayout<Element>.stride) else {
      throw GraftError(
        .outOfMemory,
        "no memory for \(purpose()): \(count) elements of \(MemoryLayout<Element>.stride) bytes")
    }
    self.count = count
    self.pointer = memory.bindMemory(to: Element.self, capacity: count)
  }

  deinit { gk_free(pointer) }

  @inlinable
  public subscript(index: Int) -> Element {
    get { pointer[index] }
    set { pointer[index] = newValue }
  }

  /// Sets every byte to zero and lets the system have the memory until it is written again.
  public func discard() { gk_discard(pointer, count * MemoryLayout<Element>.stride) }

  /// Sets every byte to zero.
  public func clear() {
    UnsafeMutableRawPointer(pointer).initializeMemory(
      as: UInt8.self, repeating: 0, count: count * MemoryLayout<Element>.stride)
  }
}
