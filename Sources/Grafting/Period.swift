/// *When*: after which epochs, or steps, a graft is due.
public struct Period: Equatable, Sendable {
  /// The first, counted from 1.
  public var start: Int
  /// Every this many, >= 1.
  public var every: Int
  /// The last one that may be due; nil for no end.
  public var stop: Int?

  public init(start: Int = 1, every: Int = 1, stop: Int? = nil) {
    self.start = start
    self.every = every
    self.stop = stop
  }

  /// Whether a graft is due after epoch (or step) `index`, counted from 1.
  public func isDue(after index: Int) -> Bool {
    guard index >= start, start >= 1, every >= 1 else { return false }
    if let stop, index > stop { return false }
    return (index - start) % every == 0
  }
}
