import GraftNetworks
import GraftSupport

// Networks of the library's own engine on Swift values. Images are N x C x H x W, outputs N x C, or
// N x C x H x W where they have a height and width.

extension Network {
  /// Runs the network.
  ///
  /// - Parameter training: whether batch norm uses (and remembers) the batch's statistics and
  ///   dropout drops; `backward` needs it.
  public func forward(_ images: Tensor, training: Bool = false) throws(GraftError) -> Tensor {
    let output = try room(images, "output", try outputShape)
    try forward(try images.view, training: training, to: try output.view)
    withExtendedLifetime(images) {}
    return output
  }

  /// Runs the network in evaluation with batch norms folded into the convolutions before them: the
  /// same numbers but for rounding.
  public func infer(_ images: Tensor) throws(GraftError) -> Tensor {
    let output = try room(images, "output", try outputShape)
    try infer(try images.view, to: try output.view)
    withExtendedLifetime(images) {}
    return output
  }

  /// What is at a place within the network in evaluation; nil for what the last, linear layer
  /// reads.
  public func features(_ images: Tensor, at value: Output? = nil) throws(GraftError) -> Tensor {
    let place: Output
    if let value { place = value } else { place = try penultimate() }
    let output = try room(images, "features", try shape(of: place))
    try features(place, of: try images.view, to: try output.view)
    withExtendedLifetime(images) {}
    return output
  }

  /// Runs the network backward, once after each forward pass in training; `gradients` has the
  /// result.
  ///
  /// - Parameter gradient: d loss / d output.
  public func backward(_ gradient: Tensor) throws(GraftError) {
    try backward(try gradient.view)
    withExtendedLifetime(gradient) {}
  }

  /// Copies of all float tensors, in PyTorch's names and order.
  public var weights: [Tensor] {
    get throws(GraftError) {
      var copies: [Tensor] = []
      for tensor in tensors {
        let view = try tensor.view
        if view.type == .float32 { copies.append(try Tensor(copying: view)) }
      }
      return copies
    }
  }

  /// Writes weights, named and shaped as `weights` gives them; not all need be there. On an error
  /// nothing has changed.
  public func setWeights(_ weights: [Tensor]) throws(GraftError) {
    var own: [String: TensorView] = [:]
    for tensor in tensors { own[tensor.name] = try tensor.view }
    for weight in weights {
      guard let view = own[weight.name], view.type == .float32 else {
        throw GraftError(.invalidArgument, "the network has no weight called \(weight.name)")
      }
      guard view.shape == weight.shape else {
        throw GraftError(
          .shapeMismatch,
          "\(weight.name) has shape \(weight.shape); the network's is \(view.shape)")
      }
    }
    for weight in weights {
      guard let to = own[weight.name]?.data?.assumingMemoryBound(to: Float.self) else { continue }
      weight.withUnsafeBufferPointer { from in
        for index in 0..<from.count { to[index] = from[index] }
      }
    }
  }

  /// Copies of the parameters' gradients, as the last backward pass left them.
  public var gradients: [Tensor] {
    get throws(GraftError) {
      var copies: [Tensor] = []
      for tensor in tensors where tensor.isParameter {
        copies.append(try Tensor(copying: try gradient(of: tensor)))
      }
      return copies
    }
  }
}

extension Predictor {
  /// Runs it.
  public func callAsFunction(_ images: Tensor) throws(GraftError) -> Tensor {
    let output = try room(images, "output", outputShape)
    try predict(try images.view, to: try output.view)
    withExtendedLifetime(images) {}
    return output
  }
}

/// Zeros for values of this shape, one for each image.
private func room(_ images: Tensor, _ name: String, _ shape: ImageShape) throws(GraftError)
  -> Tensor
{
  let single =
    shape.pixels == 1 ? [shape.channels] : [shape.channels, shape.height, shape.width]
  return try Tensor(name, shape: [images.shape.first ?? 0] + single)
}
