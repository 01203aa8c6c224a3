import GraftSupport

/// VGG with batch norm (Simonyan and Zisserman 2015, "Very Deep Convolutional Networks", table 1),
/// as it is trained on CIFAR: one linear layer instead of three.
public struct VGG: Equatable, Sendable {
  public var depth = 16
  public var classes = 10
  public var input = ImageShape(channels: 3, height: 32, width: 32)

  public init() {}

  /// Filters of the convolutions between the poolings, by depth: the paper's columns A, B, D, E.
  private static let columns: [Int: [[Int]]] = [
    11: [[64], [128], [256, 256], [512, 512], [512, 512]],
    13: [[64, 64], [128, 128], [256, 256], [512, 512], [512, 512]],
    16: [[64, 64], [128, 128], [256, 256, 256], [512, 512, 512], [512, 512, 512]],
    19: [
      [64, 64], [128, 128], [256, 256, 256, 256], [512, 512, 512, 512], [512, 512, 512, 512],
    ],
  ]

  /// Makes the network; names count the places in the sequence that PyTorch users write.
  public func makeNetwork(seed: UInt64) throws(GraftError) -> Network {
    guard let column = VGG.columns[depth] else {
      throw GraftError(.invalidArgument, "depth is \(depth); allowed are 11, 13, 16 and 19")
    }
    try check(classes: classes)
    guard input.height >= 32, input.width >= 32 else {
      throw GraftError(
        .invalidArgument,
        "height is \(input.height) and width \(input.width); five poolings need 32 of each at least"
      )
    }
    let network = try Network(input: input)
    var x = network.input
    var place = 0
    for filters in column {
      for count in filters {
        x = try network.convolution(
          "features.\(place)", x, Convolution(filters: count, padding: .init(1), bias: true))
        x = try network.relu(try network.batchNorm("features.\(place + 1)", x))
        place += 3
      }
      x = try network.pool(x, Pooling(.maximum, kernel: 2, stride: 2))
      place += 1
    }
    x = try network.linear("classifier", try network.globalPool(x), features: classes)
    try network.finish(output: x, seed: seed)
    return network
  }
}
