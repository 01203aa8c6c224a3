import GraftKernels
import GraftSupport

/// One step of a network's program. Forward it writes its output's storage; backward it takes its
/// output's gradient, writes its parameters' gradients and contributes to its inputs'.
protocol Operation: AnyObject {
  /// Reserves memory for a batch. After it, forward may be called.
  func reserve(_ pass: Pass) throws(GraftError)
  func forward(_ pass: Pass)
  func backward(_ pass: Pass) throws(GraftError)
}

/// What one pass over a batch is about.
struct Pass {
  let images: Int
  let threads: Int32
  /// Whether it may be run backward: then what that needs is kept.
  let isTraining: Bool
  let precision: Precision
  /// What its dropouts draw from.
  let randomness: Philox.Key
  let workspace: Workspace
  var pool: GradientPool { workspace.pool }
}

/// Memory that a network's operations use one after the other.
final class Workspace {
  let pool = GradientPool()
  private(set) var scratch = Reserve(name: "the kernels' scratch memory")
  private(set) var statistics = Reserve(name: "batch statistics")
  private(set) var partial = Reserve(name: "partial gradients")
  /// A layer's, in the order that the kernels want: packed for every pass anyway, so that nobody
  /// keeps them.
  private(set) var weights = Reserve(name: "a layer's weights")

  /// The sums that a batch norm's backward pass begins with, where the convolution after it has left
  /// them in `statistics`.
  struct Sums {
    weak var norm: BatchNorm?
    /// What was summed.
    let gradient: UnsafeMutablePointer<Float>
    let tiles: Int64
  }
  /// Not set once `statistics` or that gradient is written again.
  var sums: Sums?

  /// A buffer that grows to the largest size asked for.
  struct Reserve {
    let name: String
    private var buffer: Buffer<Float>?
    /// Where it lies in memory of another's.
    private var placed: UnsafeMutablePointer<Float>?

    init(name: String) { self.name = name }

    mutating func drop() { buffer = nil }
    mutating func place(_ pointer: UnsafeMutablePointer<Float>) { placed = pointer }

    mutating func reserve(_ count: Int) throws(GraftError) {
      if let buffer, buffer.count >= count { return }
      buffer = nil
      buffer = try Buffer(count: count, for: name)
    }

    /// Valid after `reserve`.
    var pointer: UnsafeMutablePointer<Float> { placed ?? buffer.unsafelyUnwrapped.pointer }
  }

  func reserve(scratch: Int = 0, statistics: Int = 0, partial: Int = 0, weights: Int = 0)
    throws(GraftError)
  {
    try self.scratch.reserve(scratch)
    try self.statistics.reserve(statistics)
    try self.partial.reserve(partial)
    try self.weights.reserve(weights)
  }

  /// Puts the kernels' scratch memory into the caller's, who keeps it.
  func place(scratch: UnsafeMutablePointer<Float>) { self.scratch.place(scratch) }

  /// Gives all of it back.
  func drop() {
    pool.drain()
    scratch.drop()
    statistics.drop()
    partial.drop()
    weights.drop()
  }
}
