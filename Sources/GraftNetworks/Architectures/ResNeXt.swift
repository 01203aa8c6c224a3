import GraftSupport

/// ResNeXt for small images (Xie et al. 2017, "Aggregated Residual Transformations for Deep Neural
/// Networks", section 5.2): depth 9n + 2, three stages of n bottlenecks whose 3x3 convolution is
/// cut into groups. "ResNeXt-29, 8x64d" has 8 groups of 64 filters in its first stage.
public struct ResNeXt: Equatable, Sendable {
  public var depth = 29
  /// Groups of the 3x3 convolutions.
  public var cardinality = 8
  /// Filters of a group in the first stage; twice and four times as many in the later ones.
  public var baseWidth = 64
  public var classes = 10
  public var input = ImageShape(channels: 3, height: 32, width: 32)

  public init() {}

  /// Makes the network, its tensors named as in the PyTorch port of the authors' code.
  public func makeNetwork(seed: UInt64) throws(GraftError) -> Network {
    guard (11...1100).contains(depth), (depth - 2) % 9 == 0 else {
      throw GraftError(
        .invalidArgument, "depth is \(depth); it must be 9n + 2: 11, 20, 29, 38, ...")
    }
    guard (1...1024).contains(cardinality) else {
      throw GraftError(.invalidArgument, "cardinality is \(cardinality); allowed are 1 to 1024")
    }
    guard (1...1024).contains(baseWidth) else {
      throw GraftError(.invalidArgument, "base_width is \(baseWidth); allowed are 1 to 1024")
    }
    try check(classes: classes)
    let network = try Network(input: input)
    var x = try network.convolution(
      "conv_1_3x3", network.input, Convolution(filters: 64, padding: .init(1)))
    x = try network.relu(try network.batchNorm("bn_1", x))
    for stage in 1...3 {
      for block in 0..<(depth - 2) / 9 {
        x = try bottleneck(
          network, "stage_\(stage).stage_\(stage)_bottleneck_\(block)", x,
          inside: cardinality * baseWidth << (stage - 1), outside: 256 << (stage - 1),
          stride: stage > 1 && block == 0 ? 2 : 1)
      }
    }
    x = try network.linear("classifier", try network.globalPool(x), features: classes)
    try network.finish(output: x, seed: seed)
    return network
  }

  private func pointwise(_ filters: Int, stride: Int = 1) -> Convolution {
    Convolution(filters: filters, kernel: .init(1), stride: .init(stride))
  }

  private func bottleneck(
    _ network: Network, _ name: String, _ input: Network.Output, inside: Int, outside: Int,
    stride: Int
  ) throws(GraftError) -> Network.Output {
    var x = try network.convolution("\(name).conv_reduce", input, pointwise(inside))
    x = try network.relu(try network.batchNorm("\(name).bn_reduce", x))
    x = try network.convolution(
      "\(name).conv_conv", x,
      Convolution(
        filters: inside, stride: .init(stride), padding: .init(1), groups: cardinality))
    x = try network.relu(try network.batchNorm("\(name).bn", x))
    x = try network.convolution("\(name).conv_expand", x, pointwise(outside))
    x = try network.batchNorm("\(name).bn_expand", x)
    var identity = input
    if try network.shape(of: input).channels != outside {
      identity = try network.convolution(
        "\(name).shortcut.shortcut_conv", input, pointwise(outside, stride: stride))
      identity = try network.batchNorm("\(name).shortcut.shortcut_bn", identity)
    }
    return try network.relu(try network.sum(identity, x))
  }
}
