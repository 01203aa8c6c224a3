import GraftSupport
import Testing

@testable import GraftTraining

/// What the Python package safetensors 0.5 writes for `{"b.num_batches_tracked": tensor(7),
/// "a.weight": arange(6.).reshape(2, 3) / 4, "half": float16 [1.5], "brain": bfloat16 [-2, 3, 0.5],
/// "byte": uint8 [1]}`.
private let writtenByPython: [UInt8] =
  [0x58, 1, 0, 0, 0, 0, 0, 0]
  + Array(
    (#"{"__metadata__":{"format":"pt"},"#
      + #""b.num_batches_tracked":{"dtype":"I64","shape":[],"data_offsets":[0,8]},"#
      + #""a.weight":{"dtype":"F32","shape":[2,3],"data_offsets":[8,32]},"#
      + #""brain":{"dtype":"BF16","shape":[3],"data_offsets":[32,38]},"#
      + #""half":{"dtype":"F16","shape":[1],"data_offsets":[38,40]},"#
      + #""byte":{"dtype":"U8","shape":[1],"data_offsets":[40,41]}}  "#).utf8)
  + [7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80, 0x3E, 0, 0, 0, 0x3F, 0, 0, 0x40, 0x3F]
  + [0, 0, 0x80, 0x3F, 0, 0, 0xA0, 0x3F, 0, 0xC0, 0x40, 0x40, 0, 0x3F, 0, 0x3E, 1]

/// A file of a header and zeros.
private func file(_ header: String, data: Int) -> [UInt8] {
  let length = UInt64(header.utf8.count).littleEndian
  return withUnsafeBytes(of: length) { Array($0) } + Array(header.utf8)
    + [UInt8](repeating: 0, count: data)
}

private func values<T>(_ view: TensorView, as type: T.Type) -> [T] {
  guard let data = view.data else { return [] }
  return (0..<view.count).map { data.load(fromByteOffset: $0 * MemoryLayout<T>.size, as: type) }
}

@Suite struct SafeTensorsTests {
  let scratch: Scratch
  let path: String

  init() throws {
    scratch = try Scratch()
    path = scratch.file("x.safetensors")
  }

  @Test func aFileOfPythonIsRead() throws {
    write(writtenByPython, to: path)
    let file = try SafeTensors.read(path: path)
    defer { withExtendedLifetime(file) {} }
    #expect(file.names == ["b.num_batches_tracked", "a.weight", "brain", "half", "byte"])
    #expect(file.metadata("format") == "pt")
    #expect(values(try file.tensor("b.num_batches_tracked"), as: Int64.self) == [7])
    let weight = try file.tensor("a.weight")
    #expect(weight.shape == [2, 3])
    #expect(values(weight, as: Float.self) == [0, 0.25, 0.5, 0.75, 1, 1.25])
    #expect(values(try file.tensor("brain"), as: UInt16.self) == [0xC000, 0x4040, 0x3F00])
    #expect(values(try file.tensor("half"), as: UInt16.self) == [0x3E00])
    #expect(file.description(of: "byte")?.type == "U8")
    #expect(throws: GraftError(
      .unsupported,
      "\(path): tensor \"byte\" is of type U8; F32, F64, F16, BF16 and I64 are read")
    ) { try file.tensor("byte") }
    #expect(throws: GraftError(.shapeMismatch, "\(path): there is no tensor \"c\"")) {
      try file.tensor("c")
    }
  }

  @Test func whatIsWrittenReadsBackWithAnyStrides() throws {
    let floats = try Buffer<Float>(count: 24)
    for index in 0..<24 { floats[index] = Float(index) }
    let counter = try Buffer<Int64>(count: 1)
    counter[0] = 1 << 40
    // 2 x 3 x 4 stored with its last dimension first, and its transposed view.
    let views = [
      try TensorView(
        name: "strided", data: floats.pointer, type: .float32, shape: [2, 3, 4],
        strides: [3, 1, 6]),
      try TensorView(name: "one", data: floats.pointer + 5, type: .float32, shape: [1]),
      try TensorView(name: "count", data: counter.pointer, type: .int64, shape: []),
      try TensorView(name: "none", data: nil, type: .float64, shape: [0, 3]),
      try TensorView(
        name: "halves", data: floats.pointer, type: .bfloat16, shape: [3], strides: [2]),
    ]
    try SafeTensors.write(path: path, tensors: views, metadata: [("b", "ä"), ("a", "\"1\"")])
    let file = try SafeTensors.read(path: path)
    defer { withExtendedLifetime((file, floats, counter)) {} }
    #expect(file.names == views.map(\.name))
    var expected: [Float] = []
    for i in 0..<2 {
      for j in 0..<3 {
        for k in 0..<4 { expected.append(Float(3 * i + j + 6 * k)) }
      }
    }
    #expect(values(try file.tensor("strided"), as: Float.self) == expected)
    #expect(values(try file.tensor("one"), as: Float.self) == [5])
    #expect(values(try file.tensor("count"), as: Int64.self) == [1 << 40])
    #expect(try file.tensor("none").shape == [0, 3])
    #expect(values(try file.tensor("halves"), as: UInt16.self) == [0, 0, 0])
    #expect(file.metadata("b") == "ä")
    #expect(file.metadata("a") == "\"1\"")
    let header = try #require(readBytes(path)).prefix(8)
    #expect(header[0] % 8 == 0)
  }

  @Test func aStridedTensorOfManyChunksIsGathered() throws {
    let (rows, columns) = (700, 300)
    let floats = try Buffer<Float>(count: rows * columns)
    for index in 0..<rows * columns { floats[index] = Float(index) }
    let view = try TensorView(
      name: "t", data: floats.pointer, type: .float32, shape: [columns, rows],
      strides: [1, columns])
    try SafeTensors.write(path: path, tensors: [view])
    let file = try SafeTensors.read(path: path)
    defer { withExtendedLifetime((file, floats)) {} }
    let back = values(try file.tensor("t"), as: Float.self)
    let expected = (0..<columns).flatMap { c in (0..<rows).map { r in Float(r * columns + c) } }
    #expect(back == expected)
  }

  @Test func aNameTwiceIsNotWritten() throws {
    let one = try Buffer<Float>(count: 1)
    func view(_ name: String) throws -> TensorView {
      try TensorView(name: name, data: one.pointer, type: .float32, shape: [1])
    }
    for names in [["a", "a"], ["__metadata__"]] {
      #expect(throws: GraftError.self) {
        try SafeTensors.write(path: path, tensors: try names.map(view))
      }
    }
    #expect(throws: GraftError.self) {
      try SafeTensors.write(path: path, tensors: [], metadata: [("k", "1"), ("k", "2")])
    }
    #expect(scratch.names().isEmpty)
  }

  @Test(arguments: [
    ([], "too few"),
    ([1, 0, 0, 0, 0, 0, 0, 0], "header of 1 bytes"),
    ([0, 0, 0, 0, 0, 0, 0, 0], "does not begin with {"),
    ([UInt8](repeating: 0xFF, count: 64), "header of 18446744073709551615 bytes"),
    (file("[]", data: 0), "does not begin with {"),
    (file("{", data: 0), "header"),
    (file("{} x", data: 0), "unexpected character"),
    (file("{}", data: 1), "take 0 bytes and the file has 1"),
    (file(#"{"__metadata__":{"a":1}}"#, data: 0), "is not a string"),
    (file(#"{"__metadata__":[]}"#, data: 0), "not a JSON object"),
    (file(#"{"a":{"dtype":"F32","shape":[1]}}"#, data: 0), "must have"),
    (file(#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}}"#, data: 4), "must have"),
    (file(#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#, data: 4), "must have"),
    (file(#"{"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}}"#, data: 4), "must have"),
    (file(#"{"a":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}}"#, data: 4), "unknown dtype"),
    (file(#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}"#, data: 4), "data_offsets"),
    (file(#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}}"#, data: 4), "data_offsets"),
    (file(#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#, data: 4), "does not take"),
    (file(#"{"a":{"dtype":"F4","shape":[3],"data_offsets":[0,1]}}"#, data: 1), "does not take"),
    (
      file(#"{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}"#, data: 4),
      "does not take"
    ),
    (file(#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, data: 8), "has 8"),
    (file(#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, data: 3), "has 3"),
    (file(#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#, data: 8), "begins at byte 4"),
    (
      file(
        #"{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"#
          + #""b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}"#, data: 3), "begins at byte 1"
    ),
    (
      file(
        #"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"#
          + #""a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#, data: 2), "same key twice"
    ),
    (file(#"{"__metadata__":{"graft.checksum":"crc32:0"}}"#, data: 0), "checksum"),
  ] as [([UInt8], String)])
  func whatIsWrongIsNamed(bytes: [UInt8], words: String) throws {
    write(bytes, to: path)
    do throws(GraftError) {
      _ = try SafeTensors.read(path: path)
      Issue.record("read without an error")
    } catch {
      #expect(error.kind == .format)
      #expect(error.message.hasPrefix(path))
      #expect(error.message.contains(words), "\(error.message)")
    }
  }

  @Test func filesThatCannotBeReadAreIOErrors() throws {
    for path in [scratch.file("missing"), scratch.path, "/dev/null"] {
      do throws(GraftError) {
        _ = try SafeTensors.read(path: path)
        Issue.record("\(path) was read")
      } catch {
        #expect(error.kind == .io)
        #expect(error.message.contains(path))
      }
    }
  }

  /// Every prefix, and 2000 random changes of one byte: an error of the right kind, or a file whose
  /// content is what it was (the change is one of white space, or of metadata that is not ours).
  @Test func aDamagedFileIsNeverTakenForAWholeOne() throws {
    let floats = try Buffer<Float>(count: 40)
    for index in 0..<40 { floats[index] = Float(index) / 7 }
    try SafeTensors.write(
      path: path,
      tensors: [
        try TensorView(name: "conv.weight", data: floats.pointer, type: .float32, shape: [2, 3, 3]),
        try TensorView(name: "bn.count", data: floats.pointer + 20, type: .int64, shape: []),
        try TensorView(name: "fc.weight", data: floats.pointer + 30, type: .float16, shape: [3, 3]),
      ], metadata: [("format", "pt"), ("graft.network", "resnet-20")])
    let whole = try #require(readBytes(path))
    let original = try SafeTensors.read(path: path)
    let damaged = scratch.file("damaged")
    var accepted = 0

    func check(_ bytes: [UInt8]) throws {
      write(bytes, to: damaged)
      do throws(GraftError) {
        let file = try SafeTensors.read(path: damaged)
        accepted += 1
        guard file.metadata(SafeTensors.checksumKey) != nil else { return }
        #expect(file.names.sorted() == original.names.sorted())
        #expect(file.metadata("graft.network") == "resnet-20")
        let same = try SafeTensors.checksum(
          of: try file.names.map { (name) throws(GraftError) in try file.tensor(name) },
          metadata: file.metadata.map { ($0.key, $0.value) })
        #expect(same == original.metadata(SafeTensors.checksumKey))
      } catch {
        #expect(error.kind == .format, "\(error.message)")
      }
    }

    for length in 0..<whole.count { try check(Array(whole[..<length])) }
    #expect(accepted == 0)
    var stream = RandomStream(seed: 11, purpose: .noise)
    for _ in 0..<2000 {
      var bytes = whole
      let place = Int(stream.below(UInt32(whole.count)))
      bytes[place] ^= UInt8(1 + stream.below(255))
      try check(bytes)
    }
    // The key "format", its value, the checksum's own key: some 45 of 530 bytes.
    #expect(accepted < 300, "\(accepted) of 2000")
    try check(whole + [0])
    withExtendedLifetime(floats) {}
  }
}
