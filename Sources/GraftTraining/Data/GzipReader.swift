import CZlib
import Glibc
import GraftSupport

/// Reads a file that may be compressed with gzip, which is seen from its content.
final class GzipReader {
  let path: String
  /// Length of the file, compressed where it is.
  let size: Int
  let isCompressed: Bool
  private let file: gzFile

  /// The most that one byte of a gzip file can stand for (deflate's limit is 1032).
  static let expansionLimit = 1040

  init(_ path: String) throws(GraftError) {
    let plain = try File.reading(path)
    self.path = path
    size = try plain.size()
    // zlib closes what it is given.
    let descriptor = fcntl(plain.descriptor, F_DUPFD_CLOEXEC, 0)
    guard descriptor >= 0 else { throw systemError("cannot open", path) }
    guard let file = gzdopen(descriptor, "rb") else {
      Glibc.close(descriptor)
      throw GraftError(.outOfMemory, "no memory to read \(path)")
    }
    self.file = file
    gzbuffer(file, 1 << 17)
    isCompressed = gzdirect(file) == 0
  }

  deinit { gzclose(file) }

  /// Reads exactly `count` bytes.
  ///
  /// - Throws: `.format` where the file ends before that, or its compressed content is corrupt.
  func read(into memory: UnsafeMutableRawPointer, count: Int) throws(GraftError) {
    var done = 0
    while done < count {
      let part = gzread(file, memory + done, UInt32(min(count - done, 1 << 28)))
      if part < 0 { throw problem() }
      if part == 0 { break }
      done += Int(part)
    }
    try check()
    guard done == count else {
      throw GraftError(.format, "\(path): truncated: \(count - done) bytes are missing at its end")
    }
  }

  /// Checks that nothing follows, and with that the checksum of compressed content.
  func finish() throws(GraftError) {
    var byte: UInt8 = 0
    let part = gzread(file, &byte, 1)
    if part < 0 { throw problem() }
    try check()
    guard part == 0 else {
      throw GraftError(.format, "\(path): there is more in it than its header says")
    }
  }

  /// zlib tells of a truncated file only here.
  private func check() throws(GraftError) {
    var code: Int32 = Z_OK
    gzerror(file, &code)
    if code != Z_OK, code != Z_STREAM_END { throw problem() }
  }

  private func problem() -> GraftError {
    let cause = errno
    var code: Int32 = Z_OK
    let text = gzerror(file, &code).map { String(cString: $0) } ?? ""
    switch code {
    case Z_ERRNO: return systemError("cannot read", path, code: cause)
    case Z_MEM_ERROR: return GraftError(.outOfMemory, "no memory to read \(path)")
    case Z_BUF_ERROR: return GraftError(.format, "\(path): truncated gzip file")
    default: return GraftError(.format, "\(path): corrupt gzip file: \(text)")
    }
  }
}
