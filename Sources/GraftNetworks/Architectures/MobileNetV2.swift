import GraftSupport

/// MobileNetV2 for small images (Sandler et al. 2018, "MobileNetV2: Inverted Residuals and Linear
/// Bottlenecks", table 2), as it is trained on CIFAR: the first convolution and the first two
/// stages keep the map's size, rectifiers are ReLU, and a block whose number of filters changes at
/// the same size has a projected shortcut.
public struct MobileNetV2: Equatable, Sendable {
  public var classes = 10
  public var input = ImageShape(channels: 3, height: 32, width: 32)

  public init() {}

  /// The paper's table 2: expansion t, filters c, repeats n, stride s of the first.
  private static let stages: [(expansion: Int, filters: Int, repeats: Int, stride: Int)] = [
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
  ]

  /// Makes the network, its tensors named as PyTorch users name them.
  public func makeNetwork(seed: UInt64) throws(GraftError) -> Network {
    try check(classes: classes)
    let network = try Network(input: input)
    var x = try network.convolution(
      "conv1", network.input, Convolution(filters: 32, padding: .init(1)))
    x = try network.relu(try network.batchNorm("bn1", x))
    var number = 0
    for stage in MobileNetV2.stages {
      for block in 0..<stage.repeats {
        x = try invertedResidual(
          network, "layers.\(number)", x, expansion: stage.expansion, filters: stage.filters,
          stride: block == 0 ? stage.stride : 1)
        number += 1
      }
    }
    x = try network.convolution("conv2", x, pointwise(1280))
    x = try network.relu(try network.batchNorm("bn2", x))
    x = try network.linear("linear", try network.globalPool(x), features: classes)
    try network.finish(output: x, seed: seed)
    return network
  }

  private func pointwise(_ filters: Int) -> Convolution {
    Convolution(filters: filters, kernel: .init(1))
  }

  private func invertedResidual(
    _ network: Network, _ name: String, _ input: Network.Output, expansion: Int, filters: Int,
    stride: Int
  ) throws(GraftError) -> Network.Output {
    let channels = try network.shape(of: input).channels
    let wide = expansion * channels
    var x = try network.convolution("\(name).conv1", input, pointwise(wide))
    x = try network.relu(try network.batchNorm("\(name).bn1", x))
    x = try network.convolution(
      "\(name).conv2", x,
      Convolution(filters: wide, stride: .init(stride), padding: .init(1), groups: wide))
    x = try network.relu(try network.batchNorm("\(name).bn2", x))
    x = try network.convolution("\(name).conv3", x, pointwise(filters))
    x = try network.batchNorm("\(name).bn3", x)
    guard stride == 1 else { return x }
    var identity = input
    if channels != filters {
      identity = try network.convolution("\(name).shortcut.0", input, pointwise(filters))
      identity = try network.batchNorm("\(name).shortcut.1", identity)
    }
    return try network.sum(x, identity)
  }
}

/// The check of those that have dropouts.
func check(dropout: Double) throws(GraftError) {
  guard dropout >= 0, dropout < 1 else {
    throw GraftError(
      .invalidArgument, "dropout is \(dropout); allowed are 0 to 1, 1 excluded")
  }
}

/// The check that all ready-made networks share.
func check(classes: Int) throws(GraftError) {
  guard (1...ImageShape.largestDimension).contains(classes) else {
    throw GraftError(
      .invalidArgument, "classes is \(classes); allowed are 1 to \(ImageShape.largestDimension)")
  }
}
