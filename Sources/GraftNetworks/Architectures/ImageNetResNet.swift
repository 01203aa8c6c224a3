import GraftSupport

/// A residual network for large images (He et al. 2016, table 1; Xie et al. 2017; Zagoruyko and
/// Komodakis 2016): a strided 7x7 convolution, maximum pooling, four stages, the mean over the map.
/// The stride of a bottleneck is that of its 3x3 convolution, as in torchvision.
struct ImageNetResNet {
  enum Block {
    case basic
    /// Groups of the 3x3 convolution, and filters of a group in the first stage.
    case bottleneck(groups: Int = 1, width: Int = 64)
  }

  private let blocks: [Int]
  private let block: Block

  init(_ blocks: [Int], _ block: Block) {
    self.blocks = blocks
    self.block = block
  }

  /// Adds all layers but the classifier.
  func add(to network: Network) throws(GraftError) -> Network.Output {
    var x = try network.convolution(
      "conv1", network.input,
      Convolution(filters: 64, kernel: .init(7), stride: .init(2), padding: .init(3)))
    x = try network.relu(try network.batchNorm("bn1", x))
    x = try network.pool(x, Pooling(.maximum, kernel: 3, stride: 2, padding: 1))
    for (stage, count) in blocks.enumerated() {
      for number in 0..<count {
        x = try residual(
          network, "layer\(stage + 1).\(number)", x, filters: 64 << stage,
          stride: stage > 0 && number == 0 ? 2 : 1)
      }
    }
    return try network.globalPool(x)
  }

  private func convolution(_ filters: Int, kernel: Int, stride: Int = 1, groups: Int = 1)
    -> Convolution
  {
    Convolution(
      filters: filters, kernel: .init(kernel), stride: .init(stride), padding: .init(kernel / 2),
      groups: groups)
  }

  private func residual(
    _ network: Network, _ name: String, _ input: Network.Output, filters: Int, stride: Int
  ) throws(GraftError) -> Network.Output {
    var layers: [Convolution]
    switch block {
    case .basic:
      layers = [convolution(filters, kernel: 3, stride: stride), convolution(filters, kernel: 3)]
    case .bottleneck(let groups, let width):
      let inside = filters * width / 64 * groups
      layers = [
        convolution(inside, kernel: 1),
        convolution(inside, kernel: 3, stride: stride, groups: groups),
        convolution(4 * filters, kernel: 1),
      ]
    }
    var x = input
    for (index, settings) in layers.enumerated() {
      if index > 0 { x = try network.relu(x) }
      x = try network.convolution("\(name).conv\(index + 1)", x, settings)
      x = try network.batchNorm("\(name).bn\(index + 1)", x)
    }
    let outside = try network.shape(of: x).channels
    var identity = input
    let channels = try network.shape(of: input).channels
    if stride != 1 || channels != outside {
      identity = try network.convolution(
        "\(name).downsample.0", input, convolution(outside, kernel: 1, stride: stride))
      identity = try network.batchNorm("\(name).downsample.1", identity)
    }
    return try network.relu(try network.sum(x, identity))
  }
}
