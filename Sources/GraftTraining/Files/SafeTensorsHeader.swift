import GraftSupport

/// The header of a safetensors file, checked against the length of the data behind it.
struct SafeTensorsHeader {
  typealias Entry = SafeTensorsFile.Entry

  let entries: [Entry]
  let metadata: [(key: String, value: String)]

  /// - Throws: `.format`, naming the file and the tensor.
  init(_ json: JSON, dataLength: Int, path: String) throws(GraftError) {
    guard let members = json.members else {
      throw GraftError(.format, "\(path): the header is not a JSON object")
    }
    var entries: [Entry] = []
    var metadata: [(key: String, value: String)] = []
    for member in members {
      if member.key == "__metadata__" {
        metadata = try SafeTensorsHeader.metadata(member.value, path: path)
      } else {
        entries.append(try SafeTensorsHeader.entry(member, path: path))
      }
    }
    var end = 0
    for entry in entries.sorted(by: { ($0.start, $0.end) < ($1.start, $1.end) }) {
      guard entry.start == end else {
        throw GraftError(
          .format, "\(path): tensor \"\(entry.name)\" begins at byte \(entry.start) of the data, "
            + "and what is before it ends at \(end)")
      }
      end = entry.end
    }
    guard end == dataLength else {
      throw GraftError(
        .format,
        "\(path): the tensors take \(end) bytes and the file has \(dataLength): truncated, or "
          + "something follows")
    }
    self.entries = entries
    self.metadata = metadata
  }

  private static func metadata(_ json: JSON, path: String) throws(GraftError)
    -> [(key: String, value: String)]
  {
    guard let members = json.members else {
      throw GraftError(.format, "\(path): __metadata__ is not a JSON object")
    }
    var pairs: [(key: String, value: String)] = []
    for member in members {
      guard let value = member.value.text else {
        throw GraftError(.format, "\(path): metadata \"\(member.key)\" is not a string")
      }
      pairs.append((member.key, value))
    }
    return pairs
  }

  private static func entry(_ member: JSON.Member, path: String) throws(GraftError) -> Entry {
    let name = member.key
    guard member.value.members?.count == 3, let code = member.value["dtype"]?.text,
      let shape = numbers(member.value["shape"]), let place = numbers(member.value["data_offsets"])
    else {
      throw GraftError(
        .format, "\(path): tensor \"\(name)\" must have a dtype, a shape and data_offsets, and "
          + "nothing else")
    }
    guard let bits = elementBits[code] else {
      throw GraftError(.format, "\(path): tensor \"\(name)\" has an unknown dtype \"\(code)\"")
    }
    guard place.count == 2, place[0] <= place[1] else {
      throw GraftError(.format, "\(path): tensor \"\(name)\" has data_offsets \(place)")
    }
    guard let size = product(shape + [bits]), size % 8 == 0, size / 8 == place[1] - place[0] else {
      throw GraftError(
        .format, "\(path): tensor \"\(name)\", \(code) of shape \(shape), does not take the "
          + "\(place[1] - place[0]) bytes that data_offsets gives it")
    }
    return Entry(name: name, code: code, shape: shape, start: place[0], end: place[1])
  }

  /// An array of numbers >= 0.
  private static func numbers(_ json: JSON?) -> [Int]? {
    guard let elements = json?.elements else { return nil }
    let numbers = elements.compactMap(\.integer)
    return numbers.count == elements.count && numbers.allSatisfy { $0 >= 0 } ? numbers : nil
  }

  /// Bits of an element of every type that the format knows.
  private static let elementBits = [
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E5M2FNUZ": 8,
    "F8_E4M3FNUZ": 8,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16,
    "I32": 32, "U32": 32, "F32": 32,
    "I64": 64, "U64": 64, "F64": 64, "C64": 64,
  ]
}
