import Glibc
import GraftSupport

/// Seconds that training passes spent in each operation, summed since timing began.
///
/// A program's operation counts to the graph's that it was lowered from. What is done along with a
/// neighbour counts to that one: a rectifier to whoever reads through it, a batch norm's statistics
/// to the convolution before it.
struct OperationTimes {
  private(set) var forward: [Double]
  private(set) var backward: [Double]
  private var last = 0.0

  init(count: Int) {
    forward = [Double](repeating: 0, count: count)
    backward = forward
  }

  private static func now() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
  }

  mutating func begin() { last = Self.now() }

  /// Counts what has passed since the last call to an operation's forward pass.
  mutating func countForward(_ operation: Int) { forward[operation] += lap() }
  mutating func countBackward(_ operation: Int) { backward[operation] += lap() }

  private mutating func lap() -> Double {
    let time = Self.now()
    defer { last = time }
    return time - last
  }
}

extension Network {
  /// Whether training passes take the time of every operation. Setting it to true begins at 0.
  public var isTiming: Bool {
    get { times != nil }
    set { times = newValue ? OperationTimes(count: operationCount) : nil }
  }

  /// Seconds of an operation, forward and backward, over all training passes since timing began.
  public func time(of operation: Int) throws(GraftError) -> (forward: Double, backward: Double) {
    guard let times else {
      throw GraftError(
        .invalidState, "operations are not timed: call graft_network_set_timing before the passes")
    }
    // Operations that were added since have taken part in no pass.
    guard operation < times.forward.count else { return (0, 0) }
    return (times.forward[operation], times.backward[operation])
  }
}
