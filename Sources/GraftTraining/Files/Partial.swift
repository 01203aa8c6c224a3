import Glibc
import GraftSupport

// What is not finished yet lies beside its target under another name, `NAME.partial-PID-N`, and is
// locked for as long as its writer lives. So a partial that can be locked belongs to a run that has
// died, whatever its process number says, and the next one to save removes it.

/// A place in a directory: where something is to be written as a whole.
struct Target {
  /// Path of the directory that it lies in.
  let parent: String
  let name: String

  var path: String { parent == "/" ? "/" + name : parent + "/" + name }

  /// - Throws: `.invalidArgument` for a path that names nothing that could be replaced.
  init(_ given: String) throws(GraftError) {
    var path = absolutePath(given)
    // A link stays a link: what it points to is replaced.
    if let kind = fileKind(path, follow: false), kind == S_IFLNK, let real = realPath(path) {
      path = real
    }
    while path.utf8.count > 1, path.utf8.last == UInt8(ascii: "/") { path.removeLast() }
    let slash = path.utf8.lastIndex(of: UInt8(ascii: "/"))
    let name = slash.map { String(path[path.utf8.index(after: $0)...]) } ?? path
    guard !name.isEmpty, !given.isEmpty, name != ".", name != "..", !path.utf8.contains(0) else {
      throw GraftError(.invalidArgument, "\"\(given)\" does not name a file or directory to write")
    }
    self.name = name
    parent = slash.map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
  }

  /// The path of something beside the target, of this process.
  func beside(_ word: String, _ number: Int) -> String { "\(path).\(word)-\(getpid())-\(number)" }

  /// Makes the target's new name last: a rename is on the disk only when its directory is.
  func syncParent() throws(GraftError) {
    let directory = try openDirectory(parent)
    // Some file systems cannot sync a directory and say EINVAL; there is nothing more to be done.
    if retrying({ fsync(directory.descriptor) }) != 0, errno != EINVAL {
      throw systemError("cannot sync", parent)
    }
  }

  /// Paths of what earlier runs left beside the target: `NAME.word-DIGITS-DIGITS`.
  func leftovers(_ word: String) -> [String] {
    guard let names = try? entries(of: parent) else { return [] }
    let prefix = Array("\(name).\(word)-".utf8)
    return names.filter { candidate in
      let bytes = candidate.utf8
      guard bytes.starts(with: prefix) else { return false }
      let numbers = bytes.dropFirst(prefix.count).split(
        separator: UInt8(ascii: "-"), omittingEmptySubsequences: false)
      return numbers.count == 2
        && numbers.allSatisfy { !$0.isEmpty && $0.allSatisfy { (48...57).contains($0) } }
    }.map { parent == "/" ? "/" + $0 : parent + "/" + $0 }
  }
}

/// What came of an attempt to lock a partial.
enum LockResult {
  /// Nobody alive had it.
  case taken
  /// A living writer has it.
  case held
  /// The file system has no locks: nobody can tell.
  case unavailable
}

func lock(_ file: File) -> LockResult {
  if retrying({ flock(file.descriptor, LOCK_EX | LOCK_NB) }) == 0 { return .taken }
  return errno == EWOULDBLOCK ? .held : .unavailable
}

/// The file type bits of what lies at a path, or nil where nothing does.
func fileKind(_ path: String, follow: Bool) -> mode_t? {
  var status = stat()
  guard (follow ? stat(path, &status) : lstat(path, &status)) == 0 else { return nil }
  return status.st_mode & S_IFMT
}

/// The path as it is meant now, whatever working directory the process, or another thread of it,
/// changes to later. As given where that cannot be told.
public func absolutePath(_ path: String) -> String {
  guard let first = path.utf8.first, first != UInt8(ascii: "/"), let directory = getcwd(nil, 0)
  else { return path }
  defer { free(directory) }
  return String(cString: directory) + "/" + path
}

private func realPath(_ path: String) -> String? {
  guard let real = realpath(path, nil) else { return nil }
  defer { free(real) }
  return String(cString: real)
}

func openDirectory(_ path: String) throws(GraftError) -> File {
  let descriptor = retrying { open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) }
  guard descriptor >= 0 else { throw systemError("cannot open directory", path) }
  return File(path: path, descriptor: descriptor)
}

/// Names of everything in a directory but "." and "..", sorted. Names that are not UTF-8 come out
/// repaired, and so name nothing.
func entries(of path: String) throws(GraftError) -> [String] {
  guard let directory = opendir(path) else { throw systemError("cannot open directory", path) }
  defer { closedir(directory) }
  var names: [String] = []
  while true {
    errno = 0
    guard let entry = readdir(directory) else {
      if errno != 0 { throw systemError("cannot list", path) }
      return names.sorted()
    }
    let name = withUnsafeBytes(of: &entry.pointee.d_name) {
      String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
    }
    if name != ".", name != ".." { names.append(name) }
  }
}
