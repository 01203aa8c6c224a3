import GraftKernels
import GraftSupport

/// Dropout: a number is kept with probability 1 - p and divided by it, or becomes 0. (In evaluation
/// there is none: ForwardSteps.) What is dropped is a function of the pass's randomness, the
/// dropout's number, the image's place in the batch and the element's in the image.
final class DropoutOperation: Operation {
  private let probability: Double
  private let number: Int
  private let input: Value
  private let output: Value

  init(probability: Double, number: Int, input: Value, output: Value) {
    self.probability = probability
    self.number = number
    self.input = input
    self.output = output
  }

  private func shape(_ pass: Pass) -> gk_dropout {
    gk_dropout(
      n: Int64(pass.images), pixels: Int64(output.shape.pixels),
      channels: Int64(output.shape.channels), key: (pass.randomness.x, pass.randomness.y),
      layer: UInt32(truncatingIfNeeded: number),
      threshold: UInt32(min((probability * 0x1p32).rounded(), 0x1p32 - 1)),
      scale: Float(1 / (1 - probability)))
  }

  func reserve(_ pass: Pass) throws(GraftError) {
    try output.storage.reserve(images: pass.images)
  }

  func forward(_ pass: Pass) {
    var shape = shape(pass)
    gk_dropout_forward(&shape, pass.threads, input.view, output.storage.pointer)
  }

  func backward(_ pass: Pass) throws(GraftError) {
    guard let gradient = try output.takePlainGradient(pass, exclusively: true) else { return }
    if input.needsGradient {
      var shape = shape(pass)
      gk_dropout_backward(&shape, pass.threads, gradient.pointer)
      try input.contribute(gradient, pass)
    }
    pass.pool.release(gradient)
  }
}
