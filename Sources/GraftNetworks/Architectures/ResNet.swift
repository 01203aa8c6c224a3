import GraftSupport

/// A residual network for small images (He et al. 2016, "Deep Residual Learning for Image
/// Recognition", section 4.2): depth 6n + 2, three stages of n blocks with 1, 2 and 4 times the
/// base filters, the map halved at the second and third stage, mean over the map, a linear
/// classifier.
public struct ResNet: Equatable, Sendable {
  /// How a block's shortcut changes the number of channels.
  public enum Shortcut: Sendable {
    /// Option A: strided identity, padded with zero channels.
    case padded
    /// Option B: a strided 1x1 convolution with batch norm.
    case projected
  }

  public var depth = 20
  public var classes = 10
  public var input = ImageShape(channels: 3, height: 32, width: 32)
  public var baseFilters = 16
  public var shortcut = Shortcut.padded
  /// Slope of the rectifiers below 0; 0 is ReLU.
  public var negativeSlope = 0.0

  public init() {}

  /// Makes the network, its tensors named as PyTorch users name them.
  public func makeNetwork(seed: UInt64) throws(GraftError) -> Network {
    guard (8...1202).contains(depth), (depth - 2) % 6 == 0 else {
      throw GraftError(
        .invalidArgument, "depth is \(depth); it must be 6n + 2: 8, 14, 20, 32, 44, 56, 110, ...")
    }
    guard (1...4096).contains(baseFilters) else {
      throw GraftError(
        .invalidArgument, "base_filters is \(baseFilters); allowed are 1 to 4096")
    }
    try check(classes: classes)
    let network = try Network(input: input)
    var x = try network.convolution("conv1", network.input, convolution(baseFilters))
    x = try network.relu(try network.batchNorm("bn1", x), negativeSlope: negativeSlope)
    for stage in 0..<3 {
      for block in 0..<(depth - 2) / 6 {
        x = try residual(
          network, "layer\(stage + 1).\(block)", x, filters: baseFilters << stage,
          stride: stage > 0 && block == 0 ? 2 : 1)
      }
    }
    x = try network.globalPool(x)
    x = try network.linear("linear", x, features: classes)
    try network.finish(output: x, seed: seed)
    return network
  }

  private func convolution(_ filters: Int, stride: Int = 1) -> Convolution {
    Convolution(filters: filters, kernel: .init(3), stride: .init(stride), padding: .init(1))
  }

  private func residual(
    _ network: Network, _ name: String, _ input: Network.Output, filters: Int, stride: Int
  ) throws(GraftError) -> Network.Output {
    var x = try network.convolution("\(name).conv1", input, convolution(filters, stride: stride))
    x = try network.relu(try network.batchNorm("\(name).bn1", x), negativeSlope: negativeSlope)
    x = try network.convolution("\(name).conv2", x, convolution(filters))
    x = try network.batchNorm("\(name).bn2", x)
    var identity = input
    if try network.shape(of: input).channels != filters {
      switch shortcut {
      case .padded:
        identity = try network.shortcut(input, stride: stride, channels: filters)
      case .projected:
        identity = try network.convolution(
          "\(name).shortcut.0", input,
          Convolution(filters: filters, kernel: .init(1), stride: .init(stride)))
        identity = try network.batchNorm("\(name).shortcut.1", identity)
      }
    }
    return try network.relu(try network.sum(x, identity), negativeSlope: negativeSlope)
  }
}
