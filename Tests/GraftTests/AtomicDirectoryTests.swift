import Glibc
import GraftSupport
import Testing

@testable import GraftTraining

@Suite struct AtomicDirectoryTests {
  let scratch: Scratch
  let path: String

  init() throws {
    scratch = try Scratch()
    path = scratch.file("checkpoint")
  }

  private func owns(_ name: String) -> Bool { name == "manifest" || name.hasSuffix(".data") }

  private func make(_ files: [String: String]) throws -> AtomicDirectory {
    let directory = try AtomicDirectory(path, marker: "manifest", owns: owns)
    for (name, text) in files {
      try directory.write(name) { (file) throws(GraftError) in try file.write(text) }
    }
    return directory
  }

  private func content(_ name: String) -> String? {
    readBytes(path + "/" + name).map { String(decoding: $0, as: UTF8.self) }
  }

  @Test(arguments: [true, false])
  func aDirectoryIsReplacedAsAWhole(exchanging: Bool) throws {
    try make(["manifest": "1", "a.data": "a", "b.data": "b"]).commit(exchanging: exchanging)
    #expect(scratch.names(in: "checkpoint") == ["a.data", "b.data", "manifest"])
    write([7], to: path + "/notes.txt")
    let next = try make(["manifest": "2", "a.data": "c"])
    #expect(content("manifest") == "1")
    try next.commit(exchanging: exchanging)
    #expect(content("manifest") == "2")
    #expect(content("a.data") == "c")
    #expect(readBytes(path + "/notes.txt") == [7])
    #expect(scratch.names(in: "checkpoint") == ["a.data", "manifest", "notes.txt"])
    #expect(scratch.names() == ["checkpoint"])
  }

  @Test func withoutCommitNothingHasHappened() throws {
    try make(["manifest": "1"]).commit()
    _ = try make(["manifest": "2", "a.data": "c"])
    #expect(content("manifest") == "1")
    #expect(scratch.names() == ["checkpoint"])
  }

  @Test func whatIsSomebodyElsesIsNotReplaced() throws {
    mkdir(path, 0o777)
    write([1], to: path + "/thesis.tex")
    let expected = GraftError(
      .invalidArgument,
      "cannot write \(path): it holds thesis.tex and no manifest, so it is not a directory to "
        + "replace; give an empty or a new one")
    #expect(throws: expected) { try make(["manifest": "1"]) }
    #expect(scratch.names(in: "checkpoint") == ["thesis.tex"])
  }

  @Test func aFileInTheWayIsAnError() throws {
    write([1], to: path)
    #expect(throws: GraftError.self) { try make(["manifest": "1"]) }
    #expect(readBytes(path) == [1])
    #expect(throws: GraftError.self) {
      try AtomicDirectory(path + "/x", marker: "manifest", owns: owns)
    }
  }

  @Test func anEmptyDirectoryAndALinkAreFilled() throws {
    mkdir(scratch.file("real"), 0o777)
    symlink("real", path)
    try make(["manifest": "1"]).commit()
    try make(["manifest": "2"]).commit()
    #expect(content("manifest") == "2")
    #expect(scratch.names() == ["checkpoint", "real"])
    #expect(fileKind(path, follow: false) == S_IFLNK)
  }

  @Test func leftoversOfDeadRunsGo() throws {
    mkdir(path + ".partial-99999999-0", 0o777)
    write([1], to: path + ".partial-99999999-0/a.data")
    let live = try make(["manifest": "live"])
    try make(["manifest": "1"]).commit()
    #expect(scratch.names().count == 2)
    try live.commit()
    #expect(content("manifest") == "live")
    #expect(scratch.names() == ["checkpoint"])
  }

  @Test func whatADyingRunSetAsideComesBack() throws {
    try make(["manifest": "1"]).commit()
    rename(path, path + ".previous-99999999-0")
    try AtomicDirectory.recover(path, owns: owns)
    #expect(content("manifest") == "1")
    #expect(scratch.names() == ["checkpoint"])
  }

  @Test func anErrorWhileWritingLeavesWhatWasThere() throws {
    try make(["manifest": "1"]).commit()
    #expect(throws: GraftError(.io, "full")) {
      let directory = try make(["manifest": "2"])
      try directory.write("a.data") { (file) throws(GraftError) in throw GraftError(.io, "full") }
    }
    #expect(content("manifest") == "1")
    #expect(scratch.names() == ["checkpoint"])
  }
}
