import CJSON
import Glibc
import GraftSupport

// Parsed and printed by json-c. What it would let pass is refused here: a key twice in an object,
// text after the value, numbers out of range, NaN, NUL characters, single quotes.

extension JSON {
  /// Parses one value with nothing but white space around it.
  ///
  /// - Parameters:
  ///   - bytes: UTF-8.
  ///   - source: what to call the text in messages.
  ///   - maximumValues: how many values the text may hold, so that a small hostile file cannot ask
  ///     for a large amount of memory.
  /// - Throws: `.format`, naming the source and the place.
  public init(
    parsing bytes: UnsafeRawBufferPointer, source: String, maximumValues: Int = 1 << 22
  ) throws(GraftError) {
    guard let length = Int32(exactly: bytes.count), let first = bytes.baseAddress else {
      throw GraftError(.format, "\(source): \(bytes.count) bytes are no JSON text")
    }
    let scan = TextScan(bytes)
    guard scan.separators < maximumValues else {
      throw GraftError(.format, "\(source): more than \(maximumValues) values")
    }
    guard scan.problem == nil else {
      throw GraftError(.format, "\(source): \(scan.problem ?? "") in JSON")
    }
    guard let tokener = json_tokener_new_ex(64) else {
      throw GraftError(.outOfMemory, "no memory to parse \(source)")
    }
    defer { json_tokener_free(tokener) }
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8)
    let text = first.assumingMemoryBound(to: CChar.self)
    var root = json_tokener_parse_ex(tokener, text, length)
    var problem = json_tokener_get_error(tokener)
    let end = json_tokener_get_parse_end(tokener)
    if problem == json_tokener_continue {
      // A number alone ends only with the text; json-c is told so by a NUL.
      root = json_tokener_parse_ex(tokener, "", 1)
      problem = json_tokener_get_error(tokener)
    }
    defer { json_object_put(root) }
    guard problem == json_tokener_success else {
      let reason = json_tokener_error_desc(problem).map { String(cString: $0) } ?? "no JSON"
      throw GraftError(.format, "\(source): at byte \(end): \(reason)")
    }
    guard bytes.dropFirst(end).allSatisfy({ [0x20, 0x09, 0x0A, 0x0D].contains($0) }) else {
      throw GraftError(.format, "\(source): something follows the JSON value at byte \(end)")
    }
    var pairs = 0
    self = try JSON(root, pairs: &pairs, source: source)
    guard pairs == scan.pairs else {
      throw GraftError(.format, "\(source): an object has the same key twice")
    }
  }

  /// The text. Numbers read back as the same bits.
  ///
  /// - Throws: `.internal` where a number is NaN or infinite.
  public func text(pretty: Bool = false) throws(GraftError) -> String {
    let root = try makeObject()
    defer { json_object_put(root) }
    let style = pretty ? JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED : JSON_C_TO_STRING_PLAIN
    let flags = style | JSON_C_TO_STRING_NOSLASHESCAPE
    guard let text = json_object_to_json_string_ext(root, flags) else {
      throw GraftError(.outOfMemory, "no memory for JSON text")
    }
    return String(cString: text)
  }
}

/// What json-c does not tell of a text: how many pairs it has in all its objects, and signs that no
/// JSON has.
private struct TextScan {
  var pairs = 0
  var separators = 0
  var problem: String?

  init(_ bytes: UnsafeRawBufferPointer) {
    var isInString = false
    var index = 0
    while index < bytes.count {
      switch bytes[index] {
      case UInt8(ascii: "\""): isInString.toggle()
      case UInt8(ascii: "\\") where isInString:
        if bytes[index...].starts(with: "\\u0000".utf8) { problem = "a NUL character" }
        index += 1
      case UInt8(ascii: ":") where !isInString: pairs += 1
      case UInt8(ascii: ",") where !isInString: separators += 1
      case UInt8(ascii: "'") where !isInString: problem = "a quote that is not double"
      case 0: problem = "a NUL character"
      default: break
      }
      index += 1
    }
  }
}

// MARK: - json-c's values

extension JSON {
  /// - Parameter pairs: counts up by one for every member of every object.
  private init(_ object: OpaquePointer?, pairs: inout Int, source: String) throws(GraftError) {
    switch json_object_get_type(object) {
    case json_type_boolean: self = .bool(json_object_get_boolean(object) != 0)
    case json_type_double:
      let value = json_object_get_double(object)
      guard value.isFinite else {
        throw GraftError(.format, "\(source): a number is not finite or too large")
      }
      self = .number(value)
    case json_type_int:
      // json-c turns what is out of range into the nearest limit.
      let value = json_object_get_int64(object)
      guard value != .min, value != .max || json_object_get_uint64(object) == UInt64(Int64.max)
      else { throw GraftError(.format, "\(source): an integer is out of range") }
      self = .integer(value)
    case json_type_string:
      self = .string(
        try checkedText(
          json_object_get_string(object), length: Int(json_object_get_string_len(object)), source))
    case json_type_array:
      var elements: [JSON] = []
      for index in 0..<json_object_array_length(object) {
        let element = json_object_array_get_idx(object, index)
        elements.append(try JSON(element, pairs: &pairs, source: source))
      }
      self = .array(elements)
    case json_type_object:
      var members: [Member] = []
      var iterator = json_object_iter_begin(object)
      var end = json_object_iter_end(object)
      while json_object_iter_equal(&iterator, &end) == 0 {
        pairs += 1
        let name = json_object_iter_peek_name(&iterator)
        let value = json_object_iter_peek_value(&iterator)
        let key = try checkedText(name, length: name.map { strlen($0) } ?? 0, source)
        members.append(Member(key, try JSON(value, pairs: &pairs, source: source)))
        json_object_iter_next(&iterator)
      }
      self = .object(members)
    default: self = .null
    }
  }

  /// A new object of json-c, owned by the caller. nil stands for null.
  private func makeObject() throws(GraftError) -> OpaquePointer? {
    let object: OpaquePointer?
    switch self {
    case .null: return nil
    case .bool(let value): object = json_object_new_boolean(value ? 1 : 0)
    case .integer(let value): object = json_object_new_int64(value)
    case .number(let value):
      guard value.isFinite else {
        throw GraftError(.internal, "JSON cannot hold the number \(value)")
      }
      // Swift's own text of a number is the shortest that reads back as the same bits.
      object = json_object_new_double_s(value, value.description)
    case .string(let value):
      object = json_object_new_string_len(value, Int32(clamping: value.utf8.count))
    case .array: object = json_object_new_array()
    case .object: object = json_object_new_object()
    }
    guard let object else { throw GraftError(.outOfMemory, "no memory for a JSON value") }
    do throws(GraftError) {
      try addParts(to: object)
    } catch {
      json_object_put(object)
      throw error
    }
    return object
  }

  private func addParts(to object: OpaquePointer) throws(GraftError) {
    for element in elements ?? [] {
      let part = try element.makeObject()
      guard json_object_array_add(object, part) == 0 else {
        json_object_put(part)
        throw GraftError(.outOfMemory, "no memory for a JSON array")
      }
    }
    for member in members ?? [] {
      guard !member.key.utf8.contains(0) else {
        throw GraftError(.internal, "a JSON key holds a NUL character")
      }
      let part = try member.value.makeObject()
      guard json_object_object_add(object, member.key, part) == 0 else {
        json_object_put(part)
        throw GraftError(.outOfMemory, "no memory for a JSON object")
      }
    }
  }
}

private func checkedText(_ start: UnsafePointer<CChar>?, length: Int, _ source: String)
  throws(GraftError) -> String
{
  let bytes = UnsafeRawBufferPointer(start: start, count: start == nil ? 0 : length)
  guard let text = String(validating: bytes, as: UTF8.self) else {
    throw GraftError(.format, "\(source): a string is not valid UTF-8")
  }
  return text
}
