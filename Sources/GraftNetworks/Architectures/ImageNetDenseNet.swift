import GraftSupport

/// DenseNet-BC for large images (Huang et al. 2017, table 1).
struct ImageNetDenseNet {
  /// Dense layers of each block.
  let layers: [Int]
  let growth: Int
  /// Filters of the first convolution.
  let stem: Int
  let dropout: Double

  /// Adds all layers but the classifier.
  func add(to network: Network) throws(GraftError) -> Network.Output {
    var x = try network.convolution(
      "features.conv0", network.input,
      Convolution(filters: stem, kernel: .init(7), stride: .init(2), padding: .init(3)))
    x = try network.relu(try network.batchNorm("features.norm0", x))
    x = try network.pool(x, Pooling(.maximum, kernel: 3, stride: 2, padding: 1))
    for (block, count) in layers.enumerated() {
      for layer in 0..<count {
        x = try dense(network, "features.denseblock\(block + 1).denselayer\(layer + 1)", x)
      }
      guard block < layers.count - 1 else { break }
      let name = "features.transition\(block + 1)"
      let channels = try network.shape(of: x).channels
      x = try network.relu(try network.batchNorm("\(name).norm", x))
      x = try network.convolution(
        "\(name).conv", x, Convolution(filters: channels / 2, kernel: .init(1)))
      x = try network.pool(x, Pooling(.average, kernel: 2, stride: 2))
    }
    x = try network.relu(try network.batchNorm("features.norm5", x))
    return try network.globalPool(x)
  }

  private func dense(_ network: Network, _ name: String, _ input: Network.Output)
    throws(GraftError) -> Network.Output
  {
    var x = try network.relu(try network.batchNorm("\(name).norm1", input))
    x = try network.convolution(
      "\(name).conv1", x, Convolution(filters: 4 * growth, kernel: .init(1)))
    x = try network.relu(try network.batchNorm("\(name).norm2", x))
    x = try network.convolution(
      "\(name).conv2", x, Convolution(filters: growth, padding: .init(1)))
    return try network.concatenation([input, try network.dropout(x, probability: dropout)])
  }
}
