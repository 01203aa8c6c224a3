import GraftKernels
import GraftSupport

/// Memory for gradients. It goes back to the pool when the last one who needs it lets it go, so
/// that a backward pass takes no more than the gradients that are alive at once.
final class GradientPool {
  private var free: [Buffer<Float>] = []

  /// The smallest free buffer that is large enough, or a new one.
  func take(_ count: Int) throws(GraftError) -> PooledBuffer {
    var best: Int?
    for index in free.indices where free[index].count >= count {
      if let chosen = best, free[chosen].count <= free[index].count { continue }
      best = index
    }
    if let best { return PooledBuffer(free.remove(at: best)) }
    return PooledBuffer(try Buffer(count: count, for: "gradients"))
  }

  func release(_ buffer: PooledBuffer) {
    buffer.users -= 1
    if buffer.users == 0 { free.append(buffer.buffer) }
  }

  /// Forgets free buffers: sizes are about to change.
  func drain() { free.removeAll() }
}

final class PooledBuffer {
  let buffer: Buffer<Float>
  /// How many gradients lie in it: a residual sum hands the same numbers to both its inputs.
  var users = 1

  init(_ buffer: Buffer<Float>) { self.buffer = buffer }

  var pointer: UnsafeMutablePointer<Float> { buffer.pointer }
}

/// The gradient of the loss with respect to a value, as far as the backward pass has come.
enum Gradient {
  case none
  /// The numbers themselves.
  case plain(PooledBuffer)
  /// Numbers that still have to go through a rectifier or a batch norm: whoever reads them does it
  /// on the way (`gk_gradient_view`).
  case pending(PooledBuffer, gk_gradient_view)
}
