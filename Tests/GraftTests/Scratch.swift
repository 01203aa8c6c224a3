import Glibc
import Testing

/// A directory of a test's own, removed with all that is in it.
final class Scratch {
  let path: String

  init() throws {
    var pattern = Array("/tmp/graft-test-XXXXXX".utf8CString)
    let made = try #require(mkdtemp(&pattern))
    path = String(cString: made)
  }

  deinit { removeAll(in: "") }

  private func removeAll(in folder: String) {
    for name in names(in: folder) {
      let inner = folder + "/" + name
      if unlink(path + inner) != 0 { removeAll(in: inner) }
    }
    rmdir(path + folder)
  }

  func file(_ name: String) -> String { path + "/" + name }

  /// Names of all that is in the directory, sorted.
  func names(in folder: String = "") -> [String] {
    guard let directory = opendir(path + "/" + folder) else { return [] }
    defer { closedir(directory) }
    var names: [String] = []
    while let entry = readdir(directory) {
      let name = withUnsafeBytes(of: &entry.pointee.d_name) {
        String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
      }
      if name != ".", name != ".." { names.append(name) }
    }
    return names.sorted()
  }
}

/// Writes a file in the plainest way.
func write(_ bytes: [UInt8], to path: String) {
  let file = fopen(path, "wb")
  fwrite(bytes, 1, bytes.count, file)
  fclose(file)
}

func readBytes(_ path: String) -> [UInt8]? {
  guard let file = fopen(path, "rb") else { return nil }
  defer { fclose(file) }
  var bytes: [UInt8] = []
  var buffer = [UInt8](repeating: 0, count: 1 << 16)
  while case let count = fread(&buffer, 1, buffer.count, file), count > 0 {
    bytes += buffer[..<count]
  }
  return bytes
}
