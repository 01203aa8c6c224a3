import CZlib
import Glibc
import GraftKernels
import GraftSupport

/// An open file. Closed when the last reference goes, or before that by `close`, which reports what
/// the system has to say about it.
public final class File {
  public let path: String
  /// Bytes written so far.
  public private(set) var written = 0
  /// CRC-32 (zlib's) of all bytes written so far.
  public private(set) var checksum: UInt32 = 0
  let descriptor: Int32
  private var isOpen = true

  init(path: String, descriptor: Int32) {
    self.path = path
    self.descriptor = descriptor
  }

  deinit { if isOpen { _ = Glibc.close(descriptor) } }

  /// Opens a regular file to read it.
  ///
  /// - Throws: `.io` where it cannot be opened, is a directory, a pipe or a device.
  public static func reading(_ path: String) throws(GraftError) -> File {
    // Not blocking: opening a pipe without a writer would hang. Regular files do not care.
    let descriptor = retrying { open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) }
    guard descriptor >= 0 else { throw systemError("cannot open", path) }
    let file = File(path: path, descriptor: descriptor)
    let status = try file.status()
    guard status.st_mode & S_IFMT == S_IFREG else {
      let kind = status.st_mode & S_IFMT == S_IFDIR ? "is a directory" : "is not a regular file"
      throw GraftError(.io, "cannot read \(path): it \(kind)")
    }
    return file
  }

  func status() throws(GraftError) -> stat {
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw systemError("cannot examine", path) }
    return status
  }

  /// Length in bytes.
  public func size() throws(GraftError) -> Int { Int(try status().st_size) }

  /// Reads up to `count` bytes; fewer only at the end of the file.
  public func read(into memory: UnsafeMutableRawPointer, count: Int) throws(GraftError) -> Int {
    var done = 0
    while done < count {
      let part = retrying { Glibc.read(descriptor, memory + done, min(count - done, 1 << 30)) }
      if part < 0 { throw systemError("cannot read", path) }
      if part == 0 { break }
      done += part
    }
    return done
  }

  /// Writes all of `count` bytes.
  public func write(_ memory: UnsafeRawPointer, count: Int) throws(GraftError) {
    var done = 0
    while done < count {
      let part = retrying { Glibc.write(descriptor, memory + done, min(count - done, 1 << 30)) }
      if part < 0 { throw systemError("cannot write", path) }
      if part == 0 { throw GraftError(.io, "cannot write \(path): the system took no bytes") }
      done += part
    }
    written += count
    checksum = crc32Of(memory, count: count, startingFrom: checksum)
  }

  /// Writes text as UTF-8.
  public func write(_ text: String) throws(GraftError) {
    var text = text
    var failure: GraftError?
    text.withUTF8 { bytes in
      guard let first = bytes.baseAddress else { return }
      do throws(GraftError) {
        try write(first, count: bytes.count)
      } catch {
        failure = error
      }
    }
    if let failure { throw failure }
  }

  /// Waits until what was written is on the disk.
  func sync() throws(GraftError) {
    guard retrying({ fsync(descriptor) }) == 0 else { throw systemError("cannot sync", path) }
  }

  /// Closes the file and reports an error of that (a full disk may show only now).
  func close() throws(GraftError) {
    guard isOpen else { return }
    isOpen = false
    // Not retried: on Linux the descriptor is gone even where close was interrupted.
    guard Glibc.close(descriptor) == 0 || errno == EINTR else {
      throw systemError("cannot close", path)
    }
  }
}

/// What a system call that failed has to say: the action, the path, and the system's words.
func systemError(_ action: String, _ path: String, code: Int32 = errno) -> GraftError {
  let reason = gk_system_text(code).map { String(cString: $0) } ?? "error \(code)"
  return GraftError(.io, "\(action) \(path): \(reason)")
}

/// Repeats a system call that a signal has interrupted.
func retrying<T: SignedInteger>(_ call: () -> T) -> T {
  while true {
    let result = call()
    if result != -1 || errno != EINTR { return result }
  }
}

/// zlib's CRC-32, which Python knows as `zlib.crc32`.
func crc32Of(_ memory: UnsafeRawPointer, count: Int, startingFrom start: UInt32 = 0) -> UInt32 {
  let bytes = memory.assumingMemoryBound(to: UInt8.self)
  return UInt32(truncatingIfNeeded: crc32_z(uLong(start), bytes, count))
}
