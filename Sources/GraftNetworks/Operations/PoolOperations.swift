import GraftKernels
import GraftSupport

/// Maximum or average over windows.
final class PoolOperation: Operation {
  private let pooling: Pooling
  private let input: Value
  private let output: Value
  /// For the maximum: which element of its window each output took.
  private var choice: Buffer<Int32>?

  init(pooling: Pooling, input: Value, output: Value) {
    self.pooling = pooling
    self.input = input
    self.output = output
  }

  private func shape(_ pass: Pass) -> gk_pooling {
    gk_pooling(
      n: Int64(pass.images), height: Int64(input.shape.height), width: Int64(input.shape.width),
      channels: Int64(input.shape.channels), out_height: Int64(output.shape.height),
      out_width: Int64(output.shape.width), kernel: Int64(pooling.kernel),
      stride: Int64(pooling.stride), padding: Int64(pooling.padding),
      average: pooling.kind == .average ? 1 : 0)
  }

  func reserve(_ pass: Pass) throws(GraftError) {
    try output.storage.reserve(images: pass.images)
    guard pass.isTraining, pooling.kind == .maximum else { return }
    let count = pass.images * output.shape.count
    if let choice, choice.count >= count { return }
    choice = try Buffer(count: count, for: "a maximum pooling's choices")
  }

  func forward(_ pass: Pass) {
    var shape = shape(pass)
    gk_pool_forward(
      &shape, pass.threads, input.view, output.storage.pointer,
      pass.isTraining ? choice?.pointer : nil)
  }

  func backward(_ pass: Pass) throws(GraftError) {
    guard let gradient = try output.takePlainGradient(pass) else { return }
    if input.needsGradient {
      var shape = shape(pass)
      let room = try input.contribute(pass)
      gk_pool_backward(
        &shape, pass.threads, gradient.pointer, choice?.pointer, room.to, room.accumulate)
    }
    pass.pool.release(gradient)
  }
}

/// Mean over an image's pixels.
final class GlobalPoolOperation: Operation {
  private let input: Value
  private let output: Value

  init(input: Value, output: Value) {
    self.input = input
    self.output = output
  }

  func reserve(_ pass: Pass) throws(GraftError) {
    try output.storage.reserve(images: pass.images)
  }

  func forward(_ pass: Pass) {
    gk_global_pool_forward(
      pass.threads, input.view, output.storage.pointer, Int64(pass.images),
      Int64(input.shape.pixels), Int64(input.shape.channels))
  }

  func backward(_ pass: Pass) throws(GraftError) {
    guard let gradient = try output.takePlainGradient(pass) else { return }
    if input.needsGradient {
      let room = try input.contribute(pass)
      gk_global_pool_backward(
        pass.threads, gradient.pointer, room.to, room.accumulate, Int64(pass.images),
        Int64(input.shape.pixels), Int64(input.shape.channels))
    }
    pass.pool.release(gradient)
  }
}

/// The parameterless shortcut (option A of He et al. 2016): strided, padded with zero channels.
final class ShortcutOperation: Operation {
  private let stride: Int
  private let firstChannel: Int
  private let input: Value
  private let output: Value

  init(stride: Int, firstChannel: Int, input: Value, output: Value) {
    self.stride = stride
    self.firstChannel = firstChannel
    self.input = input
    self.output = output
  }

  private func shape(_ pass: Pass) -> gk_shortcut {
    gk_shortcut(
      n: Int64(pass.images), height: Int64(input.shape.height), width: Int64(input.shape.width),
      channels: Int64(input.shape.channels), out_height: Int64(output.shape.height),
      out_width: Int64(output.shape.width), out_channels: Int64(output.shape.channels),
      stride: Int64(stride), first: Int64(firstChannel))
  }

  func reserve(_ pass: Pass) throws(GraftError) {
    try output.storage.reserve(images: pass.images)
  }

  func forward(_ pass: Pass) {
    var shape = shape(pass)
    gk_shortcut_forward(&shape, pass.threads, input.view, output.storage.pointer)
  }

  func backward(_ pass: Pass) throws(GraftError) {
    guard let gradient = try output.takePlainGradient(pass) else { return }
    if input.needsGradient {
      var shape = shape(pass)
      let room = try input.contribute(pass)
      gk_shortcut_backward(&shape, pass.threads, gradient.pointer, room.to, room.accumulate)
    }
    pass.pool.release(gradient)
  }
}
