import Glibc
import GraftKernels
import GraftSupport

/// Writes a flat directory of files so that its name shows either all of what stood there before or
/// all of the new files: written beside, synced, then swapped in as a whole. Nothing has happened
/// until `commit`; an object that goes without it removes what it wrote.
///
/// Only files that `owns` claims are ever removed. Other files in a directory that is replaced are
/// carried over, and a directory that holds other files and not the marker is not replaced at all:
/// it is somebody else's.
public final class AtomicDirectory {
  private let target: Target
  private let partial: File
  private let owns: (String) -> Bool
  private let marker: String
  private var isCommitted = false

  /// - Parameters:
  ///   - path: the directory to make or replace; its parent must exist.
  ///   - marker: the name of a file that every such directory has ("manifest.json").
  ///   - owns: whether a file of this name belongs to such a directory.
  /// - Throws: `.invalidArgument` where something else stands at `path`; `.io`.
  public init(_ path: String, marker: String, owns: @escaping (String) -> Bool)
    throws(GraftError)
  {
    target = try Target(path)
    self.marker = marker
    self.owns = owns
    try AtomicDirectory.recover(target, owns: owns)
    try AtomicDirectory.check(target, marker: marker, owns: owns)
    partial = try AtomicDirectory.create(beside: target)
  }

  deinit { if !isCommitted { AtomicDirectory.remove(partial.path, owns: { _ in true }) } }

  /// Writes one file, synced.
  ///
  /// - Returns: CRC-32 of its content.
  @discardableResult
  public func write(_ name: String, _ body: (File) throws(GraftError) -> Void)
    throws(GraftError) -> UInt32
  {
    guard !isCommitted, owns(name) else {
      throw GraftError(.internal, "\(name) is no part of \(target.path)")
    }
    let path = partial.path + "/" + name
    let descriptor = retrying { open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o666) }
    guard descriptor >= 0 else { throw systemError("cannot create", path) }
    let file = File(path: path, descriptor: descriptor)
    try body(file)
    try file.sync()
    try file.close()
    return file.checksum
  }

  /// Puts the new files in place of what stood there.
  public func commit() throws(GraftError) { try commit(exchanging: true) }

  /// - Parameter exchanging: whether to try the system's exchange of two names first. Where the
  ///   file system has none, the old directory steps aside for a moment; if the machine fails in
  ///   that moment, `recover` brings it back.
  func commit(exchanging: Bool) throws(GraftError) {
    try AtomicDirectory.check(target, marker: marker, owns: owns)
    if retrying({ fsync(partial.descriptor) }) != 0, errno != EINVAL {
      throw systemError("cannot sync", partial.path)
    }
    if rename(partial.path, target.path) == 0 {  // nothing, or an empty directory, stood there
      isCommitted = true
      return try target.syncParent()
    }
    guard errno == EEXIST || errno == ENOTEMPTY else {
      throw systemError("cannot rename to", target.path)
    }
    var old = partial.path
    if !exchanging || gk_exchange(partial.path, target.path) != 0 {
      old = try stepAside()
    }
    isCommitted = true
    try target.syncParent()
    AtomicDirectory.remove(old, owns: owns, carryingTo: target.path)
  }

  private func stepAside() throws(GraftError) -> String {
    var number = 0
    var old = target.beside("previous", number)
    while fileKind(old, follow: false) != nil, number < 1000 {
      number += 1
      old = target.beside("previous", number)
    }
    guard rename(target.path, old) == 0 else { throw systemError("cannot rename", target.path) }
    guard rename(partial.path, target.path) == 0 else {
      let error = systemError("cannot rename to", target.path)
      rename(old, target.path)
      throw error
    }
    return old
  }
}

extension AtomicDirectory {
  /// Brings back a directory that a dying run had set aside, and removes what dead runs left beside
  /// it. Call it before reading, too: for a moment there may have been nothing at the path.
  public static func recover(_ path: String, owns: (String) -> Bool) throws(GraftError) {
    try recover(try Target(path), owns: owns)
  }

  private static func recover(_ target: Target, owns: (String) -> Bool) throws(GraftError) {
    for path in target.leftovers("previous") where fileKind(path, follow: false) == S_IFDIR {
      if fileKind(target.path, follow: false) == nil {
        guard rename(path, target.path) == 0 else { throw systemError("cannot bring back", path) }
      } else {
        remove(path, owns: owns, carryingTo: target.path)
      }
    }
    for path in target.leftovers("partial") where fileKind(path, follow: false) == S_IFDIR {
      guard let directory = try? openDirectory(path) else { continue }
      // After an exchange, a partial name holds the old directory, with files of others maybe.
      if lock(directory) == .taken { remove(path, owns: owns, carryingTo: target.path) }
    }
  }

  private static func check(_ target: Target, marker: String, owns: (String) -> Bool)
    throws(GraftError)
  {
    guard let kind = fileKind(target.path, follow: false) else { return }
    guard kind == S_IFDIR else {
      throw GraftError(.invalidArgument, "cannot write \(target.path): it is not a directory")
    }
    let names = try entries(of: target.path)
    if let other = names.first(where: { !owns($0) }), !names.contains(marker) {
      throw GraftError(
        .invalidArgument,
        "cannot write \(target.path): it holds \(other) and no \(marker), so it is not a "
          + "directory to replace; give an empty or a new one")
    }
  }

  private static func create(beside target: Target) throws(GraftError) -> File {
    for number in 0..<1000 {
      let path = target.beside("partial", number)
      if mkdir(path, 0o777) != 0 {
        if errno == EEXIST { continue }
        throw systemError("cannot create directory", path)
      }
      let directory = try openDirectory(path)
      // Another run may have taken it for a leftover in the moment before the lock.
      if lock(directory) != .held, fileKind(path, follow: false) != nil { return directory }
    }
    throw GraftError(.io, "cannot create a directory beside \(target.path): too many partial ones")
  }

  /// Removes the files that `owns` claims, moves the others, and removes what is empty then.
  private static func remove(
    _ path: String, owns: (String) -> Bool, carryingTo target: String? = nil
  ) {
    for name in (try? entries(of: path)) ?? [] {
      if owns(name) {
        unlink(path + "/" + name)
      } else if let target, fileKind(target + "/" + name, follow: false) == nil {
        rename(path + "/" + name, target + "/" + name)
      }
    }
    rmdir(path)
  }
}
