import GraftKernels
import GraftSupport

/// Numbers of a batch, N x H x W x C.
final class Storage {
  let shape: ImageShape
  private var buffer: Buffer<Float>?
  /// Where the numbers lie in somebody else's memory.
  private var placed: UnsafeMutablePointer<Float>?

  /// Whether they are rounded to bfloat16, two to a float's room.
  private(set) var isHalf = false

  init(shape: ImageShape) { self.shape = shape }

  var halves: Int32 { isHalf ? 1 : 0 }

  /// Puts the numbers into memory of the caller's, who keeps it.
  func place(_ pointer: UnsafeMutablePointer<Float>) { placed = pointer }

  func reserve(images: Int, isHalf: Bool = false) throws(GraftError) {
    guard var count = product([images, shape.count]) else {
      throw GraftError(.outOfMemory, "a batch of \(images) images of \(shape) is too large")
    }
    if placed != nil { return }
    self.isHalf = isHalf
    if isHalf { count = (count + 1) / 2 }
    if let buffer, buffer.count >= count { return }
    buffer = nil
    buffer = try Buffer(count: count, for: "the values of a batch, \(images) x \(shape)")
  }

  /// Gives its memory back.
  func drop() { buffer = nil }

  /// Valid after `reserve` or `place`.
  var pointer: UnsafeMutablePointer<Float> { placed ?? buffer.unsafelyUnwrapped.pointer }
}

/// What a node of the graph stands for: numbers in a storage, seen through a batch norm and a
/// rectifier that whoever reads them applies. Several values may share a storage.
final class Value {
  let storage: Storage
  let norm: BatchNorm?
  let slope: Float
  /// Of the rectifier; 0 for none.
  let ceiling: Float
  /// Whether a parameter lies before it, so that its gradient is needed.
  let carriesParameters: Bool
  var gradient = Gradient.none
  /// Set where the gradient is wanted although no parameter lies before: the input's.
  var isGradientWanted = false

  init(
    storage: Storage, norm: BatchNorm? = nil, slope: Float = 1, ceiling: Float = 0,
    carriesParameters: Bool
  ) {
    self.storage = storage
    self.norm = norm
    self.slope = slope
    self.ceiling = ceiling
    self.carriesParameters = carriesParameters
  }

  var shape: ImageShape { storage.shape }
  /// Whether the storage's numbers are the value itself.
  var isPlain: Bool { norm == nil && slope == 1 }
  var needsGradient: Bool { carriesParameters || isGradientWanted }

  var view: gk_view {
    gk_view(
      x: storage.pointer, scale: norm.map { UnsafePointer($0.scale.pointer) },
      shift: norm.map { UnsafePointer($0.shift.pointer) }, slope: slope, ceiling: ceiling,
      halves: storage.halves)
  }
}

// MARK: - Collecting gradients

extension Value {
  /// Makes room for a contribution: the caller writes the gradient there, or adds to it if
  /// `accumulate` is 1.
  func contribute(_ pass: Pass) throws(GraftError) -> (
    to: UnsafeMutablePointer<Float>, accumulate: Int32
  ) {
    if case .none = gradient {
      let buffer = try pass.pool.take(pass.images * shape.count)
      gradient = .plain(buffer)
      return (buffer.pointer, 0)
    }
    return (try ownPlain(pass).pointer, 1)
  }

  /// Takes a contribution that lies in a buffer already; the buffer gains a user.
  func contribute(_ buffer: PooledBuffer, _ pass: Pass) throws(GraftError) {
    if case .none = gradient {
      buffer.users += 1
      gradient = .plain(buffer)
      return
    }
    let own = try ownPlain(pass)
    let other = gk_view(x: buffer.pointer, scale: nil, shift: nil, slope: 1, ceiling: 0, halves: 0)
    let mine = gk_view(x: own.pointer, scale: nil, shift: nil, slope: 1, ceiling: 0, halves: 0)
    gk_sum_forward(
      pass.threads, mine, other, 1, own.pointer, Int64(pass.images * shape.pixels),
      Int64(shape.channels))
  }

  /// Takes a contribution that is still on its way through a rectifier or batch norm. The buffer's
  /// use goes over to this value.
  func contribute(
    pending buffer: PooledBuffer, _ view: gk_gradient_view, _ pass: Pass
  ) throws(GraftError) {
    if case .none = gradient {
      gradient = .pending(buffer, view)
      return
    }
    let own = try ownPlain(pass)
    apply(view, to: own, accumulate: 1, pass)
    pass.pool.release(buffer)
  }

  /// Takes the gradient away for reading, as it is. The caller releases the buffer.
  func takeGradient(_ pass: Pass) -> (buffer: PooledBuffer, view: gk_gradient_view)? {
    defer { gradient = .none }
    switch gradient {
    case .none: return nil
    case .plain(let buffer):
      let plain = gk_view(
        x: storage.pointer, scale: nil, shift: nil, slope: 1, ceiling: 0, halves: storage.halves)
      return (buffer, gk_gradient_view(g: buffer.pointer, value: plain, a: nil, b: nil, c: nil))
    case .pending(let buffer, let view): return (buffer, view)
    }
  }

  /// Takes the gradient away as numbers. `exclusively` for a caller that writes into it.
  func takePlainGradient(_ pass: Pass, exclusively: Bool = false) throws(GraftError)
    -> PooledBuffer?
  {
    if case .none = gradient { return nil }
    if case .plain(let buffer) = gradient, !exclusively || buffer.users == 1 {
      gradient = .none
      return buffer
    }
    let own = try ownPlain(pass)
    gradient = .none
    return own
  }

  /// Makes the gradient numbers in a buffer that nobody else uses.
  private func ownPlain(_ pass: Pass) throws(GraftError) -> PooledBuffer {
    pass.workspace.sums = nil  // of a gradient that may be about to change
    guard let (buffer, view) = takeGradient(pass) else {
      throw GraftError(.internal, "a gradient is missing")
    }
    if view.a == nil, view.value.slope == 1, buffer.users == 1 {
      gradient = .plain(buffer)
      return buffer
    }
    let own = try pass.pool.take(pass.images * shape.count)
    apply(view, to: own, accumulate: 0, pass)
    pass.pool.release(buffer)
    gradient = .plain(own)
    return own
  }

  private func apply(
    _ view: gk_gradient_view, to own: PooledBuffer, accumulate: Int32, _ pass: Pass
  ) {
    gk_apply_gradient(
      pass.threads, view, own.pointer, accumulate, Int64(pass.images * shape.pixels),
      Int64(shape.channels))
  }
}
