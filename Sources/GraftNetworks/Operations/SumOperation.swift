import GraftKernels
import GraftSupport

/// A residual sum with the rectifier after it, or, with one input, that input written out as
/// numbers. Its output may lie where one of its inputs does.
final class SumOperation: Operation {
  private let a: Value
  private let b: Value?
  private let output: Value
  private let slope: Float

  /// out = rectify(a + b)
  init(a: Value, b: Value?, output: Value, slope: Float = 1) {
    self.a = a
    self.b = b
    self.output = output
    self.slope = slope
  }

  func reserve(_ pass: Pass) throws(GraftError) {
    try output.storage.reserve(images: pass.images)
  }

  func forward(_ pass: Pass) {
    let none = gk_view(x: nil, scale: nil, shift: nil, slope: 1, ceiling: 0, halves: 0)
    gk_sum_forward(
      pass.threads, a.view, b?.view ?? none, slope, output.storage.pointer,
      Int64(pass.images * output.shape.pixels), Int64(output.shape.channels))
  }

  func backward(_ pass: Pass) throws(GraftError) {
    guard let gradient = try output.takePlainGradient(pass, exclusively: slope != 1) else { return }
    if slope != 1 {
      gk_rectify_backward(
        pass.threads, output.storage.pointer, slope, gradient.pointer,
        Int64(pass.images * output.shape.count))
    }
    // Both inputs get the same numbers; whoever must change them copies them first.
    for input in [a, b] {
      if let input, input.needsGradient { try input.contribute(gradient, pass) }
    }
    pass.pool.release(gradient)
  }
}

/// The rectifier as a view: forward there is nothing to do, backward the gradient goes on with the
/// rectifier still to be applied.
final class RectifierOperation: Operation {
  private let input: Value
  private let output: Value

  init(input: Value, output: Value) {
    self.input = input
    self.output = output
  }

  func reserve(_ pass: Pass) throws(GraftError) {}
  func forward(_ pass: Pass) {}

  func backward(_ pass: Pass) throws(GraftError) {
    guard let buffer = try output.takePlainGradient(pass) else { return }
    guard input.needsGradient else { return pass.pool.release(buffer) }
    let view = gk_gradient_view(g: buffer.pointer, value: output.view, a: nil, b: nil, c: nil)
    try input.contribute(pending: buffer, view, pass)
  }
}
