import GraftKernels
import GraftSupport

/// A caller's batch, checked: N x C x H x W (or N x C where height and width are 1), float32, of
/// any strides.
struct Batch {
  let count: Int
  private let floats: UnsafeMutablePointer<Float>?
  private let strides: [Int64]
  private let shape: ImageShape

  /// - Parameters:
  ///   - label: what messages call it.
  ///   - count: how many images it must have; nil for any number.
  ///   - written: whether it is a place for results, no two of which may be one.
  init(
    _ view: TensorView, _ label: String, of shape: ImageShape, count: Int? = nil,
    written: Bool = false
  ) throws(GraftError) {
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
    if written { try view.checkWritable() }
    self.count = images
    self.shape = shape
    floats = view.data?.assumingMemoryBound(to: Float.self)
    strides = (isFlat ? view.strides + [1, 1] : view.strides).map { Int64($0) }
  }

  /// Copies it to N x H x W x C without gaps.
  func gather(to place: UnsafeMutablePointer<Float>, threads: Int) {
    gk_gather_images(
      Int32(clamping: threads), floats, strides, place, Int64(count), Int64(shape.height),
      Int64(shape.width), Int64(shape.channels))
  }

  /// The other way round.
  func scatter(from place: UnsafePointer<Float>, threads: Int) {
    gk_scatter_images(
      Int32(clamping: threads), place, floats, strides, Int64(count), Int64(shape.height),
      Int64(shape.width), Int64(shape.channels))
  }
}

extension Network {
  // MARK: Passes over arrays of PyTorch's shapes

  /// Runs the network. In training what the backward pass needs is kept until the next pass.
  public func forward(_ images: TensorView, training: Bool, to output: TensorView)
    throws(GraftError)
  {
    try pass(images, to: output, of: try outputShape) { (count) throws(GraftError) in
      try begin(images: count, training: training)
    }
  }

  /// Runs the network in evaluation with batch norms folded into the convolutions before them.
  public func infer(_ images: TensorView, to output: TensorView) throws(GraftError) {
    let value = try self.output()
    try pass(images, to: output, of: try outputShape) { (count) throws(GraftError) in
      try begin(images: count, value: value, folds: true)
    }
  }

  /// Runs the network in evaluation up to a value and gives what is there.
  public func features(_ value: Output, of images: TensorView, to output: TensorView)
    throws(GraftError)
  {
    try pass(images, to: output, of: try shape(of: value)) { (count) throws(GraftError) in
      try begin(images: count, value: value)
    }
  }

  private func pass(
    _ images: TensorView, to output: TensorView, of shape: ImageShape,
    begin: (Int) throws(GraftError) -> UnsafeMutablePointer<Float>
  ) throws(GraftError) {
    let given = try Batch(images, "images", of: inputShape)
    let wanted = try Batch(output, "output", of: shape, count: given.count, written: true)
    given.gather(to: try begin(given.count), threads: threads)
    wanted.scatter(from: try run(), threads: threads)
  }

  /// Runs the last training pass backward.
  ///
  /// - Parameters:
  ///   - outputGradient: of the output's shape.
  ///   - inputGradient: receives the gradient for the images; nil if not wanted.
  public func backward(_ outputGradient: TensorView, to inputGradient: TensorView? = nil)
    throws(GraftError)
  {
    let count = try openImages
    let given = try Batch(outputGradient, "output_gradient", of: try outputShape, count: count)
    let wanted = try inputGradient.map { (view) throws(GraftError) in
      try Batch(view, "input_gradient", of: inputShape, count: count, written: true)
    }
    try runBackward(
      fill: { given.gather(to: $0, threads: threads) },
      read: wanted.map { (wanted) in { wanted.scatter(from: $0, threads: self.threads) } })
  }
}

extension Predictor {
  /// Runs it over an array of PyTorch's shape.
  public func predict(_ images: TensorView, to output: TensorView) throws(GraftError) {
    let given = try Batch(images, "images", of: inputShape)
    let wanted = try Batch(output, "output", of: outputShape, count: given.count, written: true)
    given.gather(to: try begin(images: given.count), threads: threads)
    wanted.scatter(from: try run(), threads: threads)
  }
}
