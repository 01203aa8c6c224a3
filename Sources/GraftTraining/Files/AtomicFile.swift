import Glibc
import GraftSupport

/// Writes a file so that its name shows either what stood there before or all of the new content,
/// whatever happens in between: beside the target, synced, then renamed over it.
public enum AtomicFile {
  /// - Parameters:
  ///   - path: the target; a link is followed. An existing file keeps its permissions.
  ///   - body: writes the content. If it throws, what stood at `path` is untouched.
  /// - Throws: what `body` throws; `.io`, naming path and cause; `.invalidArgument` where `path` is
  ///   a directory, a device or no name at all.
  public static func write(
    _ path: String, _ body: (File) throws(GraftError) -> Void
  ) throws(GraftError) {
    let target = try Target(path)
    if let kind = fileKind(target.path, follow: true), kind != S_IFREG {
      let what = kind == S_IFDIR ? "is a directory" : "is not a regular file"
      throw GraftError(.invalidArgument, "cannot write \(path): it \(what)")
    }
    removeLeftovers(of: target)
    let file = try create(beside: target)
    var isDone = false
    defer { if !isDone { unlink(file.path) } }
    var status = stat()
    if stat(target.path, &status) == 0 { fchmod(file.descriptor, status.st_mode & 0o7777) }
    try body(file)
    try file.sync()
    guard rename(file.path, target.path) == 0 else {
      throw systemError("cannot rename to", target.path)
    }
    isDone = true
    try file.close()
    try target.syncParent()
  }

  private static func create(beside target: Target) throws(GraftError) -> File {
    for number in 0..<1000 {
      let path = target.beside("partial", number)
      let descriptor = retrying {
        open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
      }
      if descriptor < 0, errno == EEXIST { continue }
      guard descriptor >= 0 else { throw systemError("cannot create", path) }
      let file = File(path: path, descriptor: descriptor)
      // Another run may have taken it for a leftover in the moment before the lock.
      if lock(file) != .held, fileKind(path, follow: false) != nil { return file }
    }
    throw GraftError(.io, "cannot create a file beside \(target.path): too many partial ones")
  }

  private static func removeLeftovers(of target: Target) {
    for path in target.leftovers("partial") where fileKind(path, follow: false) == S_IFREG {
      guard let file = try? File.reading(path) else { continue }
      if lock(file) == .taken { unlink(path) }
    }
  }
}
