import GraftKernels
import GraftSupport

/// A linear layer over all of its input. Weights are kept in PyTorch's order, (channel, row,
/// column); images lie as (row, column, channel), so where there are several pixels they are
/// reordered.
final class LinearOperation: Operation {
  private let weight: NetworkTensor
  private let bias: NetworkTensor?
  private let input: Value
  private let output: Value

  /// - Parameter input: must be plain.
  init(weight: NetworkTensor, bias: NetworkTensor?, input: Value, output: Value) {
    self.weight = weight
    self.bias = bias
    self.input = input
    self.output = output
  }

  private var isReordered: Bool { input.shape.pixels > 1 }

  func reserve(_ pass: Pass) throws(GraftError) {
    try output.storage.reserve(images: pass.images)
    if isReordered { try pass.workspace.reserve(weights: weight.count) }
  }

  /// Goes over all weights with their place in PyTorch's order and in ours.
  static func forEachPlace(
    _ input: ImageShape, outputs: Int, _ body: (_ theirs: Int, _ ours: Int) -> Void
  ) {
    let (pixels, channels) = (input.pixels, input.channels)
    for row in 0..<outputs {
      let start = row * input.count
      for channel in 0..<channels {
        for pixel in 0..<pixels {
          body(start + channel * pixels + pixel, start + pixel * channels + channel)
        }
      }
    }
  }

  private func forEachPlace(_ body: (_ theirs: Int, _ ours: Int) -> Void) {
    LinearOperation.forEachPlace(input.shape, outputs: output.shape.channels, body)
  }

  private func orderWeights(_ pass: Pass) -> UnsafePointer<Float> {
    guard isReordered else { return UnsafePointer(weight.values.pointer) }
    let ordered = pass.workspace.weights.pointer
    forEachPlace { ordered[$1] = weight.values[$0] }
    return UnsafePointer(ordered)
  }

  func forward(_ pass: Pass) {
    gk_linear_forward(
      pass.threads, input.storage.pointer, orderWeights(pass), bias?.values.pointer,
      output.storage.pointer, Int64(pass.images), Int64(input.shape.count),
      Int64(output.shape.channels))
  }

  func backward(_ pass: Pass) throws(GraftError) {
    guard let gradient = try output.takePlainGradient(pass) else { return }
    var to: UnsafeMutablePointer<Float>?
    var accumulate: Int32 = 0
    if input.needsGradient {
      let room = try input.contribute(pass)
      (to, accumulate) = (room.to, room.accumulate)
    }
    func run(_ dx: UnsafeMutablePointer<Float>?, _ dw: UnsafeMutablePointer<Float>) {
      gk_linear_backward(
        pass.threads, input.storage.pointer, orderWeights(pass), gradient.pointer, dx, accumulate,
        dw, bias?.gradients.pointer, Int64(pass.images), Int64(input.shape.count),
        Int64(output.shape.channels))
    }
    if isReordered {
      let room = try pass.pool.take(weight.count)
      run(to, room.pointer)
      forEachPlace { weight.gradients[$0] = room.pointer[$1] }
      pass.pool.release(room)
    } else {
      run(to, weight.gradients.pointer)
    }
    pass.pool.release(gradient)
  }
}
