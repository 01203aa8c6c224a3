import GraftSupport

/// The safetensors format (github.com/huggingface/safetensors): eight bytes with the header's
/// length, little-endian; a JSON header that tells type, shape and place of every tensor; the data,
/// without gaps. Written so that the Python package reads it, torch's views included: tensors with
/// larger elements come first in the data, so that each is aligned; the header keeps the caller's
/// order.
///
/// `__metadata__` gets a checksum, which `read` verifies where it is present:
/// "graft.checksum" is "crc32:" and 16 hexadecimal digits of a sum modulo 2^64 of zlib CRC-32s, one
/// for each tensor, over "NAME\0TYPE\0SHAPE\0" (the shape as "64,3,3,3") and its data, and one
/// for each other metadata key that begins with "graft.", over "KEY\0VALUE\0". It does not depend
/// on the order of anything, so it survives another program that loads and saves the same content.
public enum SafeTensors {
  public static let checksumKey = "graft.checksum"
  /// The format's own limit on the header.
  static let headerLimit = 100_000_000

  /// Writes a file, as a whole or not at all (`AtomicFile`).
  ///
  /// - Parameters:
  ///   - tensors: any strides; names are unique, and none is "__metadata__".
  ///   - metadata: keys are unique; a checksum is added.
  /// - Throws: `.io`; `.invalidArgument`, naming a tensor, for a name used twice.
  public static func write(
    path: String, tensors: [TensorView], metadata: [(String, String)] = []
  ) throws(GraftError) {
    try AtomicFile.write(path) { (file) throws(GraftError) in
      try write(to: file, tensors: tensors, metadata: metadata)
    }
  }

  /// The same into a file that is open already.
  public static func write(
    to file: File, tensors: [TensorView], metadata: [(String, String)] = []
  ) throws(GraftError) {
    let order = tensors.indices.sorted {
      (tensors[$1].type.size, $0) < (tensors[$0].type.size, $1)
    }
    let header = try header(tensors, order: order, metadata: metadata, path: file.path)
    var length = UInt64(header.utf8.count).littleEndian
    try withUnsafeBytes(of: &length) { (bytes) throws(GraftError) in
      if let first = bytes.baseAddress { try file.write(first, count: bytes.count) }
    }
    try file.write(header)
    for index in order {
      try tensors[index].forEachChunk { (bytes, count) throws(GraftError) in
        try file.write(bytes, count: count)
      }
    }
  }

  private static func header(
    _ tensors: [TensorView], order: [Int], metadata: [(String, String)], path: String
  ) throws(GraftError) -> String {
    var names: Set<String> = ["__metadata__"]
    for tensor in tensors where !names.insert(tensor.name).inserted {
      throw GraftError(
        .invalidArgument, "cannot write \(path): two tensors, or one and the metadata, are named "
          + "\"\(tensor.name)\"")
    }
    var keys: Set<String> = [checksumKey]
    for (key, _) in metadata where !keys.insert(key).inserted {
      throw GraftError(.invalidArgument, "cannot write \(path): metadata key \"\(key)\" twice")
    }
    var offsets = [Int](repeating: 0, count: tensors.count)
    var end = 0
    for index in order {
      offsets[index] = end
      let (next, overflow) = end.addingReportingOverflow(
        tensors[index].count * tensors[index].type.size)
      guard !overflow else {
        throw GraftError(.invalidArgument, "cannot write \(path): the tensors are too large")
      }
      end = next
    }
    let checksum = try checksum(of: tensors, metadata: metadata)
    let pairs = metadata + [(checksumKey, checksum)]
    var members = [
      JSON.Member("__metadata__", .object(pairs.map { .init($0.0, .string($0.1)) }))
    ]
    for (tensor, start) in zip(tensors, offsets) {
      let shape = tensor.shape.map { JSON.integer(Int64($0)) }
      let place = [start, start + tensor.count * tensor.type.size].map { JSON.integer(Int64($0)) }
      let entry: JSON = [
        "dtype": .string(tensor.type.code), "shape": .array(shape), "data_offsets": .array(place),
      ]
      members.append(.init(tensor.name, entry))
    }
    let text = try JSON.object(members).text()
    let padding = String(repeating: " ", count: (8 - text.utf8.count % 8) % 8)
    guard text.utf8.count + padding.utf8.count <= headerLimit else {
      throw GraftError(.invalidArgument, "cannot write \(path): the names are too long")
    }
    return text + padding
  }
}

extension SafeTensors {
  /// The checksum that the type's comment describes.
  static func checksum(of tensors: [TensorView], metadata: [(String, String)])
    throws(GraftError) -> String
  {
    var sum: UInt64 = 0
    for tensor in tensors {
      let shape = tensor.shape.map(String.init).joined(separator: ",")
      var value = crc32Of("\(tensor.name)\0\(tensor.type.code)\0\(shape)\0")
      try tensor.forEachChunk { (bytes, count) throws(GraftError) in
        value = crc32Of(bytes, count: count, startingFrom: value)
      }
      sum &+= UInt64(value)
    }
    for (key, value) in metadata where key.hasPrefix("graft.") && key != checksumKey {
      sum &+= UInt64(crc32Of("\(key)\0\(value)\0"))
    }
    let digits = String(sum, radix: 16)
    return "crc32:" + String(repeating: "0", count: 16 - digits.utf8.count) + digits
  }
}

func crc32Of(_ text: String) -> UInt32 {
  var text = text
  return text.withUTF8 { bytes in
    bytes.baseAddress.map { crc32Of($0, count: bytes.count) } ?? 0
  }
}

extension ElementType {
  /// The type's name in a safetensors header.
  var code: String {
    switch self {
    case .float32: "F32"
    case .float64: "F64"
    case .float16: "F16"
    case .bfloat16: "BF16"
    case .int64: "I64"
    }
  }

  init?(code: String) {
    let all: [ElementType] = [.float32, .float64, .float16, .bfloat16, .int64]
    guard let type = all.first(where: { $0.code == code }) else { return nil }
    self = type
  }
}
