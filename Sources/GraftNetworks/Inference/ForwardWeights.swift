import GraftKernels
import GraftSupport

/// What the workers of a forward program share: weights as the kernels want them, batch norms'
/// scales and shifts. `prepare` reads them off the network's tensors; then nothing changes until it
/// is called again.
final class ForwardWeights {
  private(set) var convolutions: [Graph.Index: PackedConvolution] = [:]
  private(set) var norms: [Graph.Index: BatchNorm] = [:]
  private(set) var linears: [Graph.Index: OrderedLinear] = [:]
  /// The batch norms that convolutions have taken up.
  private(set) var folded: Set<Graph.Index> = []

  /// - Parameters:
  ///   - folds: whether a batch norm that alone reads a convolution becomes part of its weights.
  ///   - copies: whether to keep no reference to the network's tensors after `prepare`.
  init(_ graph: Graph, _ uses: GraphUses, folds: Bool, copies: Bool) throws(GraftError) {
    for index in graph.nodes.indices where uses.isNeeded[index] {
      let node = graph.nodes[index]
      switch node.layer {
      case .convolution(let settings, let weight, let bias):
        var norm: BatchNormTensors?
        if folds, let reader = uses.soleReader(index),
          case .batchNorm(let tensors) = graph.nodes[reader].layer
        {
          norm = tensors
          folded.insert(reader)
        }
        convolutions[index] = try PackedConvolution(
          settings, weight: weight, bias: bias, norm: norm,
          input: graph.nodes[node.inputs[0]].shape, output: node.shape)
      case .batchNorm(let tensors):
        if !folded.contains(index) { norms[index] = try BatchNorm(tensors) }
      case .linear(let weight, let bias):
        linears[index] = try OrderedLinear(
          weight: weight, bias: bias, input: graph.nodes[node.inputs[0]].shape, copies: copies)
      default: break
      }
    }
  }

  /// Reads the tensors. `discarding` makes them zeros as soon as they are read; where this
  /// throws, nothing has changed.
  func prepare(threads: Int, discarding: Bool = false) throws(GraftError) {
    let packed = convolutions.values.sorted { $0.place < $1.place }
    // One worker's room for the weights of a layer that takes up a batch norm.
    let largest = discarding ? 0 : packed.first { $0.takesNorm }.map(\.weightCount) ?? 0
    var rooms: [Buffer<Float>] = []
    for _ in 0..<max(1, min(threads, packed.count)) {
      rooms.append(try Buffer(count: largest, for: "a layer's weights"))
    }
    try concurrently(packed.count, threads: rooms.count) { (index, worker) throws(GraftError) in
      guard let weight = packed[index].source?.weight else { return }
      packed[index].prepare(room: discarding ? weight.values.pointer : rooms[worker].pointer)
      if discarding { weight.discard() }
    }
    for norm in norms.values { norm.useRunningStatistics() }
    for linear in linears.values {
      linear.prepare()
      if discarding { linear.source?.weight.discard() }
    }
  }

  /// Lets go of the tensors: what was prepared stays.
  func release() {
    for convolution in convolutions.values { convolution.source = nil }
    for linear in linears.values { linear.source = nil }
  }
}

/// A convolution's weights in the kernel's order, with the batch norm after it taken up.
final class PackedConvolution {
  struct Source {
    let weight: NetworkTensor
    let bias: NetworkTensor?
    let norm: BatchNorm?
  }

  let settings: Convolution
  let kernel: ConvolutionKernel
  let packed: Buffer<Float>
  /// Empty for none.
  let bias: Buffer<Float>
  var source: Source?
  private let input: ImageShape
  private let output: ImageShape
  /// The larger first: workers share the packing evenly.
  var place: Int { -weightCount }
  let weightCount: Int
  var takesNorm: Bool { source?.norm != nil }

  init(
    _ settings: Convolution, weight: NetworkTensor, bias: NetworkTensor?,
    norm: BatchNormTensors?, input: ImageShape, output: ImageShape
  ) throws(GraftError) {
    self.settings = settings
    self.input = input
    self.output = output
    weightCount = weight.count
    var shape = ConvolutionOperation.shape(settings, input, output, images: 1)
    kernel = ConvolutionKernel(shape)
    packed = try Buffer(count: kernel.packedSize(&shape), for: weight.name)
    self.bias = try Buffer(
      count: bias == nil && norm == nil ? 0 : output.channels, for: weight.name)
    source = Source(
      weight: weight, bias: bias,
      norm: try norm.map { (tensors) throws(GraftError) in try BatchNorm(tensors) })
  }

  func shape(images: Int) -> gk_convolution {
    ConvolutionOperation.shape(settings, input, output, images: images)
  }

  /// On the caller's thread: several are prepared side by side.
  ///
  /// - Parameter room: for as many floats as it has weights, where it takes up a batch norm; it may
  ///   be the weights' own place.
  func prepare(room: UnsafeMutablePointer<Float>) {
    guard let source else { return }
    var shape = shape(images: 1)
    let filters = output.channels
    for filter in 0..<bias.count { bias[filter] = source.bias?.values[filter] ?? 0 }
    guard let norm = source.norm else {
      kernel.pack(&shape, threads: 1, source.weight.values.pointer, to: packed.pointer)
      return
    }
    norm.useRunningStatistics()
    let size = source.weight.count / filters
    for filter in 0..<filters {
      let scale = norm.scale[filter]
      let from = source.weight.values.pointer + filter * size
      let to = room + filter * size
      for index in 0..<size { to[index] = from[index] * scale }
      bias[filter] = Float(Double(bias[filter]) * Double(scale) + Double(norm.shift[filter]))
    }
    kernel.pack(&shape, threads: 1, room, to: packed.pointer)
  }
}

/// A linear layer's weights in the order of our images.
final class OrderedLinear {
  var source: (weight: NetworkTensor, bias: NetworkTensor?)?
  private let input: ImageShape
  private let outputs: Int
  /// How many images one product takes: fixed, since a product's rounding may depend on it.
  var rows = 1
  /// Empty where the tensors are read in place.
  private let ordered: Buffer<Float>
  private let copiedBias: Buffer<Float>

  init(weight: NetworkTensor, bias: NetworkTensor?, input: ImageShape, copies: Bool)
    throws(GraftError)
  {
    source = (weight, bias)
    self.input = input
    outputs = weight.shape[0]
    let moves = copies || input.pixels > 1
    ordered = try Buffer(count: moves ? weight.count : 0, for: weight.name)
    copiedBias = try Buffer(count: copies ? bias?.count ?? 0 : 0, for: weight.name)
  }

  var weights: UnsafePointer<Float>? {
    ordered.count > 0
      ? UnsafePointer(ordered.pointer) : source.map { UnsafePointer($0.weight.values.pointer) }
  }

  var bias: UnsafePointer<Float>? {
    copiedBias.count > 0
      ? UnsafePointer(copiedBias.pointer)
      : source?.bias.map { UnsafePointer($0.values.pointer) }
  }

  func prepare() {
    guard let source else { return }
    if ordered.count > 0 {
      LinearOperation.forEachPlace(input, outputs: outputs) { (theirs, ours) in
        ordered[ours] = source.weight.values[theirs]
      }
    }
    if let bias = source.bias, copiedBias.count > 0 {
      copiedBias.pointer.update(from: bias.values.pointer, count: bias.count)
    }
  }
}
