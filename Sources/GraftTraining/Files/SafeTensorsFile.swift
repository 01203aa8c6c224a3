import Glibc
import GraftSupport

/// What a safetensors file holds, checked and in memory. The views that `tensor` gives point into
/// memory that this object owns: keep it alive for as long as they are used
/// (`withExtendedLifetime`).
public final class SafeTensorsFile {
  public let path: String
  /// The names, in the header's order.
  public var names: [String] { entries.map(\.name) }
  /// `__metadata__`, in the header's order.
  public let metadata: [(key: String, value: String)]

  private let entries: [Entry]
  private let indices: [String: Int]
  private let data: Buffer<UInt8>
  /// Tensors that lie in the file where their elements are not aligned, copied.
  private var copies: [Int: Buffer<UInt8>] = [:]

  /// A tensor as the header describes it.
  struct Entry {
    let name: String
    let code: String
    let shape: [Int]
    let start: Int
    let end: Int
  }

  init(path: String, header: SafeTensorsHeader, data: Buffer<UInt8>) throws(GraftError) {
    self.path = path
    self.entries = header.entries
    self.metadata = header.metadata
    self.data = data
    var indices: [String: Int] = [:]
    for (index, entry) in entries.enumerated() {
      guard indices.updateValue(index, forKey: entry.name) == nil else {
        throw GraftError(.format, "\(path): two tensors are named \"\(entry.name)\"")
      }
    }
    self.indices = indices
    for (index, entry) in entries.enumerated() {
      guard let type = ElementType(code: entry.code), entry.start % type.size != 0 else { continue }
      let length = entry.end - entry.start
      let copy = try Buffer<UInt8>(count: length, for: "tensor \(entry.name) of \(path)")
      memcpy(copy.pointer, data.pointer + entry.start, length)
      copies[index] = copy
    }
    try verifyChecksum()
  }

  public func contains(_ name: String) -> Bool { indices[name] != nil }

  /// Type (the format's own name, "F32"), and shape.
  public func description(of name: String) -> (type: String, shape: [Int])? {
    indices[name].map { (entries[$0].code, entries[$0].shape) }
  }

  /// The value of a metadata key.
  public func metadata(_ key: String) -> String? { metadata.first { $0.key == key }?.value }

  /// A tensor, row-major, in this object's memory.
  ///
  /// - Throws: `.shapeMismatch` where the file has none of that name; `.unsupported` for elements
  ///   that are not F32, F64, F16, BF16 or I64.
  public func tensor(_ name: String) throws(GraftError) -> TensorView {
    guard let index = indices[name] else {
      throw GraftError(.shapeMismatch, "\(path): there is no tensor \"\(name)\"")
    }
    let entry = entries[index]
    guard let type = ElementType(code: entry.code) else {
      throw GraftError(
        .unsupported,
        "\(path): tensor \"\(name)\" is of type \(entry.code); F32, F64, F16, BF16 and I64 are "
          + "read")
    }
    let place = copies[index]?.pointer ?? data.pointer + entry.start
    return try TensorView(name: name, data: place, type: type, shape: entry.shape)
  }

  private func verifyChecksum() throws(GraftError) {
    guard let expected = metadata(SafeTensors.checksumKey) else { return }
    var tensors: [TensorView] = []
    for entry in entries {
      // A file with a checksum has none but our own types.
      guard ElementType(code: entry.code) != nil else { throw mismatch }
      tensors.append(try tensor(entry.name))
    }
    let pairs = metadata.map { ($0.key, $0.value) }
    guard try SafeTensors.checksum(of: tensors, metadata: pairs) == expected else { throw mismatch }
  }

  private var mismatch: GraftError {
    GraftError(
      .format,
      "\(path): the content does not agree with its checksum (metadata "
        + "\"\(SafeTensors.checksumKey)\"): it is corrupt, or was changed by a program that kept "
        + "the checksum")
  }
}

extension SafeTensors {
  /// Reads a file. Every length is checked before it is used.
  ///
  /// - Throws: `.io`; `.format` for what is not a safetensors file or is truncated or corrupt;
  ///   `.outOfMemory`.
  public static func read(path: String) throws(GraftError) -> SafeTensorsFile {
    let file = try File.reading(path)
    let size = try file.size()
    guard size >= 8 else {
      throw GraftError(.format, "\(path): \(size) bytes are too few for a safetensors file")
    }
    var word: UInt64 = 0
    try readAll(of: file, into: &word, count: 8)
    let announced = UInt64(littleEndian: word)
    guard let length = Int.checked(announced), length <= headerLimit, length <= size - 8 else {
      throw GraftError(
        .format, "\(path): a header of \(announced) bytes in a file of \(size); not a safetensors "
          + "file, or truncated")
    }
    let text = try Buffer<UInt8>(count: length, for: "the header of \(path)")
    try readAll(of: file, into: text.pointer, count: length)
    let bytes = UnsafeRawBufferPointer(start: text.pointer, count: length)
    guard bytes.first == UInt8(ascii: "{") else {
      throw GraftError(.format, "\(path): the header does not begin with {")
    }
    let json = try JSON(parsing: bytes, source: "\(path): header", maximumValues: 1 << 21)
    withExtendedLifetime(text) {}
    let header = try SafeTensorsHeader(json, dataLength: size - 8 - length, path: path)
    let data = try Buffer<UInt8>(count: size - 8 - length, for: "the tensors of \(path)")
    try readAll(of: file, into: data.pointer, count: data.count)
    return try SafeTensorsFile(path: path, header: header, data: data)
  }

  private static func readAll(of file: File, into memory: UnsafeMutableRawPointer, count: Int)
    throws(GraftError)
  {
    guard try file.read(into: memory, count: count) == count else {
      throw GraftError(.format, "\(file.path): shorter than it was a moment ago")
    }
  }
}
