import CGraft
import GraftKernels
import GraftNetworks
import GraftSupport

// graft/network.h: running a network forward and backward.

@implementation @_cdecl("graft_network_set_threads")
public func graft_network_set_threads(_ network: OpaquePointer?, _ threads: Int32) -> graft_status {
  status { () throws(GraftError) in
    let network = try object(network, Network.self, "network")
    network.threads = try threadCount(threads)
  }
}

@implementation @_cdecl("graft_network_set_dropout")
public func graft_network_set_dropout(_ network: OpaquePointer?, _ seed: UInt64, _ step: UInt64)
  -> graft_status
{
  status { () throws(GraftError) in
    let network = try object(network, Network.self, "network")
    network.randomness = Network.Randomness(seed: seed, step: step)
  }
}

@implementation @_cdecl("graft_network_output_shape")
public func graft_network_output_shape(
  _ network: OpaquePointer?, _ shape: UnsafeMutablePointer<Int64>?
) -> graft_status {
  status { () throws(GraftError) in
    let network = try object(network, Network.self, "network")
    try put(try network.outputShape, in: shape)
  }
}

/// Writes a shape as channels, height and width.
func put(_ shape: ImageShape, in pointer: UnsafeMutablePointer<Int64>?) throws(GraftError) {
  let pointer = try required(pointer, "shape")
  pointer[0] = Int64(shape.channels)
  pointer[1] = Int64(shape.height)
  pointer[2] = Int64(shape.width)
}

/// A caller's batch of images, N x C x H x W (or N x C where height and width are 1), float32.
private func images(
  _ pointer: UnsafePointer<graft_tensor>?, _ label: String, of shape: ImageShape,
  count: Int? = nil
) throws(GraftError) -> (view: TensorView, strides: [Int64]) {
  let view = try tensor(pointer, label)
  guard view.type == .float32 else {
    throw GraftError(.unsupported, "\(label): dtype must be GRAFT_FLOAT32")
  }
  let isFlat = view.shape.count == 2 && shape.pixels == 1
  let single = isFlat ? [shape.channels] : [shape.channels, shape.height, shape.width]
  guard let images = view.shape.first, Array(view.shape.dropFirst()) == single else {
    throw GraftError(
      .shapeMismatch, "\(label): shape \(view.shape); it must be N x \(shape)")
  }
  if let count, images != count {
    throw GraftError(.shapeMismatch, "\(label): \(images) images; they must be \(count)")
  }
  let strides = (isFlat ? view.strides + [1, 1] : view.strides).map { Int64($0) }
  return (view, strides)
}

extension TensorView {
  /// The first of its float32 numbers, if there are any.
  fileprivate var floats: UnsafeMutablePointer<Float>? {
    data?.assumingMemoryBound(to: Float.self)
  }
}

@implementation @_cdecl("graft_network_forward")
public func graft_network_forward(
  _ handle: OpaquePointer?, _ mode: graft_mode, _ input: UnsafePointer<graft_tensor>?,
  _ output: UnsafePointer<graft_tensor>?
) -> graft_status {
  status { () throws(GraftError) in
    let network = try object(handle, Network.self, "network")
    guard mode == GRAFT_EVALUATION || mode == GRAFT_TRAINING else {
      throw GraftError(.invalidArgument, "mode is \(mode.rawValue); it must be a graft_mode")
    }
    try pass(network, input, output, of: try network.outputShape) { (count) throws(GraftError) in
      try network.begin(images: count, training: mode == GRAFT_TRAINING)
    }
  }
}

@implementation @_cdecl("graft_network_infer")
public func graft_network_infer(
  _ handle: OpaquePointer?, _ input: UnsafePointer<graft_tensor>?,
  _ output: UnsafePointer<graft_tensor>?
) -> graft_status {
  status { () throws(GraftError) in
    let network = try object(handle, Network.self, "network")
    try pass(network, input, output, of: try network.outputShape) { (count) throws(GraftError) in
      try network.begin(images: count, value: try network.output(), folds: true)
    }
  }
}

/// Runs the pass that `begin` prepares for a number of images.
func pass(
  _ network: Network, _ input: UnsafePointer<graft_tensor>?,
  _ output: UnsafePointer<graft_tensor>?, of outputShape: ImageShape,
  begin: (Int) throws(GraftError) -> UnsafeMutablePointer<Float>
) throws(GraftError) {
  try pass(
    input, output, from: network.inputShape, to: outputShape, threads: network.threads,
    begin: begin, run: { () throws(GraftError) in try network.run() })
}

/// From the caller's images through `begin`, which gives room for a number of them, and `run` to
/// the caller's output.
func pass(
  _ input: UnsafePointer<graft_tensor>?, _ output: UnsafePointer<graft_tensor>?,
  from shape: ImageShape, to outputShape: ImageShape, threads: Int,
  begin: (Int) throws(GraftError) -> UnsafeMutablePointer<Float>,
  run: () throws(GraftError) -> UnsafePointer<Float>
) throws(GraftError) {
  let given = try images(input, "images", of: shape)
  let count = given.view.shape[0]
  let wanted = try images(output, "output", of: outputShape, count: count)
  let place = try begin(count)
  let threads = Int32(clamping: threads)
  gk_gather_images(
    threads, given.view.floats, given.strides, place, Int64(count), Int64(shape.height),
    Int64(shape.width), Int64(shape.channels))
  let result = try run()
  gk_scatter_images(
    threads, result, wanted.view.floats, wanted.strides, Int64(count),
    Int64(outputShape.height), Int64(outputShape.width), Int64(outputShape.channels))
}

@implementation @_cdecl("graft_network_backward")
public func graft_network_backward(
  _ handle: OpaquePointer?, _ outputGradient: UnsafePointer<graft_tensor>?,
  _ inputGradient: UnsafePointer<graft_tensor>?
) -> graft_status {
  status { () throws(GraftError) in
    let network = try object(handle, Network.self, "network")
    let (shape, outputShape) = (network.inputShape, try network.outputShape)
    let count = try network.openImages
    let given = try images(outputGradient, "output_gradient", of: outputShape, count: count)
    let threads = Int32(clamping: network.threads)
    let fill = { (place: UnsafeMutablePointer<Float>) in
      gk_gather_images(
        threads, given.view.floats, given.strides, place, Int64(count),
        Int64(outputShape.height), Int64(outputShape.width), Int64(outputShape.channels))
    }
    guard inputGradient != nil else { return try network.runBackward(fill: fill) }
    let wanted = try images(inputGradient, "input_gradient", of: shape, count: count)
    try network.runBackward(fill: fill) {
      gk_scatter_images(
        threads, $0, wanted.view.floats, wanted.strides, Int64(count), Int64(shape.height),
        Int64(shape.width), Int64(shape.channels))
    }
  }
}
