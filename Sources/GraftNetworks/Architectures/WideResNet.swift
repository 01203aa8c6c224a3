import GraftSupport

/// A wide residual network (Zagoruyko and Komodakis 2016, "Wide Residual Networks", table 1): depth
/// 6n + 4, pre-activation blocks, three groups of 16, 32 and 64 times `widen` filters.
public struct WideResNet: Equatable, Sendable {
  public var depth = 28
  public var widen = 10
  public var classes = 10
  public var input = ImageShape(channels: 3, height: 32, width: 32)
  /// Probability of the dropout between a block's convolutions; 0 for none.
  public var dropout = 0.0

  public init() {}

  /// Makes the network, its tensors named as PyTorch users name them.
  public func makeNetwork(seed: UInt64) throws(GraftError) -> Network {
    guard (10...1204).contains(depth), (depth - 4) % 6 == 0 else {
      throw GraftError(
        .invalidArgument, "depth is \(depth); it must be 6n + 4: 10, 16, 22, 28, 34, 40, ...")
    }
    guard (1...64).contains(widen) else {
      throw GraftError(.invalidArgument, "widen is \(widen); allowed are 1 to 64")
    }
    try check(classes: classes)
    try check(dropout: dropout)
    let network = try Network(input: input)
    var x = try network.convolution("conv1", network.input, convolution(16))
    for group in 0..<3 {
      for block in 0..<(depth - 4) / 6 {
        x = try residual(
          network, "block\(group + 1).layer.\(block)", x, filters: (16 * widen) << group,
          stride: group > 0 && block == 0 ? 2 : 1)
      }
    }
    x = try network.relu(try network.batchNorm("bn1", x))
    x = try network.linear("fc", try network.globalPool(x), features: classes)
    try network.finish(output: x, seed: seed)
    return network
  }

  private func convolution(_ filters: Int, stride: Int = 1) -> Convolution {
    Convolution(filters: filters, stride: .init(stride), padding: .init(1))
  }

  /// The paper's basic block, B(3, 3): batch norm and rectifier come before each convolution; where
  /// the number of filters changes, both branches start from the same activation.
  private func residual(
    _ network: Network, _ name: String, _ input: Network.Output, filters: Int, stride: Int
  ) throws(GraftError) -> Network.Output {
    let activated = try network.relu(try network.batchNorm("\(name).bn1", input))
    var x = try network.convolution(
      "\(name).conv1", activated, convolution(filters, stride: stride))
    x = try network.relu(try network.batchNorm("\(name).bn2", x))
    x = try network.dropout(x, probability: dropout)
    x = try network.convolution("\(name).conv2", x, convolution(filters))
    var identity = input
    if try network.shape(of: input).channels != filters {
      identity = try network.convolution(
        "\(name).convShortcut", activated,
        Convolution(filters: filters, kernel: .init(1), stride: .init(stride)))
    }
    return try network.sum(x, identity)
  }
}
