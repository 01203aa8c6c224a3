import Glibc
import GraftSupport
import Testing

@testable import GraftTraining

@Suite struct AtomicFileTests {
  @Test func aFileIsReplacedAsAWhole() throws {
    let scratch = try Scratch()
    let path = scratch.file("a")
    try AtomicFile.write(path) { (file) throws(GraftError) in try file.write("first") }
    chmod(path, 0o640)
    try AtomicFile.write(path) { (file) throws(GraftError) in
      try file.write("sec")
      #expect(readBytes(path) == Array("first".utf8))
      try file.write("ond")
    }
    #expect(readBytes(path) == Array("second".utf8))
    #expect(scratch.names() == ["a"])
    var status = stat()
    stat(path, &status)
    #expect(status.st_mode & 0o777 == 0o640)
  }

  @Test func anErrorLeavesWhatWasThere() throws {
    let scratch = try Scratch()
    let path = scratch.file("a")
    write([1, 2, 3], to: path)
    #expect(throws: GraftError(.cancelled, "stop")) {
      try AtomicFile.write(path) { (file) throws(GraftError) in
        try file.write("half")
        throw GraftError(.cancelled, "stop")
      }
    }
    #expect(readBytes(path) == [1, 2, 3])
    #expect(scratch.names() == ["a"])
  }

  @Test func aLinkIsFollowed() throws {
    let scratch = try Scratch()
    write([1], to: scratch.file("real"))
    symlink("real", scratch.file("link"))
    try AtomicFile.write(scratch.file("link")) { (file) throws(GraftError) in try file.write("x") }
    #expect(readBytes(scratch.file("real")) == Array("x".utf8))
    #expect(fileKind(scratch.file("link"), follow: false) == S_IFLNK)
  }

  @Test func deadLeftoversGoAndLiveOnesStay() throws {
    let scratch = try Scratch()
    let path = scratch.file("a")
    write([1], to: scratch.file("a.partial-1-0"))
    write([1], to: scratch.file("a.partial-2-0"))
    write([1], to: scratch.file("a.partial-mine-0"))
    write([1], to: scratch.file("b.partial-1-0"))
    let live = try File.reading(scratch.file("a.partial-2-0"))
    #expect(lock(live) == .taken)
    try AtomicFile.write(path) { (file) throws(GraftError) in try file.write("x") }
    #expect(scratch.names() == ["a", "a.partial-2-0", "a.partial-mine-0", "b.partial-1-0"])
  }

  @Test func errorsNameThePathAndTheCause() throws {
    let scratch = try Scratch()
    func failure(_ path: String) -> GraftError? {
      do throws(GraftError) {
        try AtomicFile.write(path) { (file) throws(GraftError) in try file.write("x") }
        return nil
      } catch {
        return error
      }
    }
    let missing = failure(scratch.file("no/a"))
    #expect(missing?.kind == .io)
    #expect(missing?.message.contains("no/a") == true)
    #expect(missing?.message.contains("No such file or directory") == true)
    #expect(failure(scratch.path)?.kind == .invalidArgument)
    #expect(failure("/dev/null")?.kind == .invalidArgument)
    for path in ["", ".", "..", "/", scratch.file("..")] {
      #expect(failure(path)?.kind == .invalidArgument)
    }
    #expect(fileKind("/dev/null", follow: true) == S_IFCHR)
  }

  @Test func aFullDiskIsAnError() throws {
    let descriptor = open("/dev/full", O_WRONLY)
    try #require(descriptor >= 0)
    let file = File(path: "/dev/full", descriptor: descriptor)
    do throws(GraftError) {
      try file.write("x")
      Issue.record("no error")
    } catch {
      #expect(error.kind == .io)
      #expect(error.message == "cannot write /dev/full: No space left on device")
    }
  }

  @Test func noDescriptorIsLeft() throws {
    let scratch = try Scratch()
    let other = scratch.file("d")
    let free = { () -> Int32 in
      let descriptor = dup(0)
      close(descriptor)
      return descriptor
    }
    // Other tests open files at the same time: what counts is that a hundred do not add up.
    let before = free()
    for round in 0..<100 {
      try AtomicFile.write(scratch.file("a")) { (file) throws(GraftError) in try file.write("x") }
      _ = try? AtomicFile.write(scratch.file("no/a")) { _ in }
      let directory = try AtomicDirectory(other, marker: "m") { $0 == "m" }
      try directory.write("m") { (file) throws(GraftError) in try file.write("\(round)") }
      if round % 2 == 0 { try directory.commit() }
    }
    #expect(free() < before + 50)
  }
}
