import GraftSupport

/// DenseNet for small images (Huang et al. 2017, "Densely Connected Convolutional Networks",
/// section 3): three dense blocks, in which every layer reads the outputs of all layers before it
/// and adds `growth` channels of its own; between them a 1x1 convolution and average pooling. With
/// bottlenecks and compression it is DenseNet-BC.
public struct DenseNet: Equatable, Sendable {
  /// 6n + 4 with bottlenecks, 3n + 4 without.
  public var depth = 100
  public var growth = 12
  /// Filters of the first convolution; 0 for twice `growth`.
  public var baseFilters = 0
  /// A 1x1 convolution to 4 times `growth` channels before each 3x3 one.
  public var hasBottlenecks = true
  /// What share of the channels a transition keeps.
  public var reduction = 0.5
  public var classes = 10
  public var input = ImageShape(channels: 3, height: 32, width: 32)
  /// Probability of the dropouts after the dense layers' convolutions; 0 for none.
  public var dropout = 0.0

  public init() {}

  /// Makes the network, its tensors named as PyTorch users name them.
  public func makeNetwork(seed: UInt64) throws(GraftError) -> Network {
    let step = hasBottlenecks ? 6 : 3
    guard (step + 4...1204).contains(depth), (depth - 4) % step == 0 else {
      throw GraftError(
        .invalidArgument,
        hasBottlenecks
          ? "depth is \(depth); with bottlenecks it must be 6n + 4: 10, 16, ..., 40, 100, 190, ..."
          : "depth is \(depth); without bottlenecks it must be 3n + 4: 7, 10, ..., 40, 100, ...")
    }
    guard (1...1024).contains(growth) else {
      throw GraftError(.invalidArgument, "growth is \(growth); allowed are 1 to 1024")
    }
    guard (0...4096).contains(baseFilters) else {
      throw GraftError(
        .invalidArgument,
        "base_filters is \(baseFilters); allowed are 1 to 4096, and 0 for twice the growth")
    }
    guard reduction > 0, reduction <= 1 else {
      throw GraftError(
        .invalidArgument, "reduction is \(reduction); allowed is more than 0, up to 1")
    }
    try check(classes: classes)
    try check(dropout: dropout)
    let network = try Network(input: input)
    var x = try network.convolution(
      "conv1", network.input, convolution(baseFilters > 0 ? baseFilters : 2 * growth))
    for block in 1...3 {
      for layer in 0..<(depth - 4) / step {
        x = try dense(network, "block\(block).layer.\(layer)", x)
      }
      guard block < 3 else { break }
      let channels = try network.shape(of: x).channels
      let kept = max(1, Int((Double(channels) * reduction).rounded(.down)))
      x = try network.relu(try network.batchNorm("trans\(block).bn1", x))
      x = try network.convolution(
        "trans\(block).conv1", x, Convolution(filters: kept, kernel: .init(1)))
      x = try network.pool(x, Pooling(.average, kernel: 2, stride: 2))
    }
    x = try network.relu(try network.batchNorm("bn1", x))
    x = try network.linear("fc", try network.globalPool(x), features: classes)
    try network.finish(output: x, seed: seed)
    return network
  }

  private func convolution(_ filters: Int) -> Convolution {
    Convolution(filters: filters, padding: .init(1))
  }

  private func dense(_ network: Network, _ name: String, _ input: Network.Output)
    throws(GraftError) -> Network.Output
  {
    var x = try network.relu(try network.batchNorm("\(name).bn1", input))
    if hasBottlenecks {
      x = try network.convolution(
        "\(name).conv1", x, Convolution(filters: 4 * growth, kernel: .init(1)))
      x = try network.dropout(x, probability: dropout)
      x = try network.relu(try network.batchNorm("\(name).bn2", x))
    }
    x = try network.convolution(
      "\(name).conv\(hasBottlenecks ? 2 : 1)", x, convolution(growth))
    return try network.concatenation([input, try network.dropout(x, probability: dropout)])
  }
}
