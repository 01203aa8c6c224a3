import GraftSupport

/// A JSON value. Objects keep the order of their members.
///
/// JSON has no NaN and no infinity: write `JSON(orNull:)` where one may occur, and read null back
/// as NaN with `numberOrNaN`. Numbers written without a fraction or exponent are `integer`, within
/// Int64; what needs all 64 bits of an unsigned number (a seed) is written as a string.
public enum JSON: Equatable, Sendable {
  case null
  case bool(Bool)
  case integer(Int64)
  case number(Double)
  case string(String)
  case array([JSON])
  case object([Member])

  public struct Member: Equatable, Sendable {
    public let key: String
    public let value: JSON

    public init(_ key: String, _ value: JSON) {
      self.key = key
      self.value = value
    }
  }

  /// The number, or null where it is NaN or infinite.
  public init(orNull value: Double) { self = value.isFinite ? .number(value) : .null }
}

// Reading: nil where the value is of another kind.
extension JSON {
  /// The member of an object.
  public subscript(key: String) -> JSON? { members?.first { $0.key == key }?.value }

  public var members: [Member]? { if case .object(let value) = self { value } else { nil } }
  public var elements: [JSON]? { if case .array(let value) = self { value } else { nil } }
  public var text: String? { if case .string(let value) = self { value } else { nil } }
  public var bool: Bool? { if case .bool(let value) = self { value } else { nil } }
  public var integer: Int? { if case .integer(let value) = self { Int(value) } else { nil } }

  /// A number, written as an integer or not.
  public var number: Double? {
    switch self {
    case .number(let value): value
    case .integer(let value): Double(value)
    default: nil
    }
  }

  /// A number, or NaN for null.
  public var numberOrNaN: Double? { self == .null ? .nan : number }
}

extension JSON: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral,
  ExpressibleByFloatLiteral, ExpressibleByBooleanLiteral, ExpressibleByArrayLiteral,
  ExpressibleByDictionaryLiteral
{
  public init(stringLiteral value: String) { self = .string(value) }
  public init(integerLiteral value: Int64) { self = .integer(value) }
  public init(floatLiteral value: Double) { self = .number(value) }
  public init(booleanLiteral value: Bool) { self = .bool(value) }
  public init(arrayLiteral elements: JSON...) { self = .array(elements) }
  public init(dictionaryLiteral members: (String, JSON)...) {
    self = .object(members.map { Member($0.0, $0.1) })
  }
}
