/// The product of sizes that a caller or a file decides, or nil where it does not fit or one of
/// them is negative. Swift's own `*` would end the process.
public func product(_ sizes: some Sequence<Int>) -> Int? {
  var result = 1
  for size in sizes {
    let (next, overflow) = result.multipliedReportingOverflow(by: size)
    guard size >= 0, !overflow else { return nil }
    result = next
  }
  return result
}

extension Int {
  /// An `Int` from a number of another width, or nil where it does not fit.
  public static func checked(_ value: some BinaryInteger) -> Int? { Int(exactly: value) }
}
