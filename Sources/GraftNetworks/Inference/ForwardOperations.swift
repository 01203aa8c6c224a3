import GraftKernels
import GraftSupport

/// A convolution whose weights are packed already and shared with other workers.
final class ForwardConvolution: Operation {
  private let weights: PackedConvolution
  private let input: Value
  private let output: Value

  init(_ weights: PackedConvolution, input: Value, output: Value) {
    self.weights = weights
    self.input = input
    self.output = output
  }

  /// Floats that it works in.
  func scratch(_ pass: Pass) throws(GraftError) -> Int {
    var shape = weights.shape(images: pass.images)
    guard let scratch = product([Int(pass.threads), weights.kernel.scratchSize(&shape)]) else {
      throw GraftError(.outOfMemory, "the work on this batch is too large")
    }
    return scratch
  }

  func reserve(_ pass: Pass) throws(GraftError) {}

  func forward(_ pass: Pass) {
    var shape = weights.shape(images: pass.images)
    weights.kernel.forward(
      &shape, pass.threads, input.view, weights.packed.pointer,
      weights.bias.count > 0 ? weights.bias.pointer : nil, output.storage.pointer, nil,
      pass.workspace.scratch.pointer)
  }

  func backward(_ pass: Pass) throws(GraftError) {}
}

/// A linear layer whose weights are ordered already and shared with other workers.
final class ForwardLinear: Operation {
  private let weights: OrderedLinear
  private let input: Value
  private let output: Value

  /// - Parameter input: must be plain.
  init(_ weights: OrderedLinear, input: Value, output: Value) {
    self.weights = weights
    self.input = input
    self.output = output
  }

  func reserve(_ pass: Pass) throws(GraftError) {}

  func forward(_ pass: Pass) {
    var first = 0
    while first < pass.images {
      let rows = min(weights.rows, pass.images - first)
      gk_linear_forward(
        pass.threads, input.storage.pointer + first * input.shape.count, weights.weights,
        weights.bias, output.storage.pointer + first * output.shape.channels, Int64(rows),
        Int64(input.shape.count), Int64(output.shape.channels))
      first += rows
    }
  }

  func backward(_ pass: Pass) throws(GraftError) {}
}
