/// What a call that failed has to say: a kind that a program can act on, and a message for a person
/// that names the argument, what it was, and what is allowed.
public struct GraftError: Error, Equatable, Sendable, CustomStringConvertible {
  /// The kinds; their numbers are those of `graft_status` in Include/graft/status.h.
  public enum Kind: Int32, Sendable {
    case invalidArgument = 1
    case shapeMismatch = 2
    case notFinite = 3
    case outOfMemory = 4
    case io = 5
    case format = 6
    case cancelled = 7
    case unsupported = 8
    case invalidState = 9
    case `internal` = 10
  }

  public let kind: Kind
  public let message: String

  public init(_ kind: Kind, _ message: String) {
    self.kind = kind
    self.message = message
  }

  public var description: String { message }
}
