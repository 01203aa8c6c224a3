import GraftSupport

/// MobileNetV2 for large images (Sandler et al. 2018, table 2): the first convolution and four
/// stages are strided, rectifiers end at 6, and a block has a shortcut only where its output has
/// its input's shape.
struct ImageNetMobileNetV2 {
  let dropout: Double

  /// The paper's table 2: expansion t, filters c, repeats n, stride s of the first.
  private static let stages: [(expansion: Int, filters: Int, repeats: Int, stride: Int)] = [
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
  ]

  /// Adds all layers but the classifier.
  func add(to network: Network) throws(GraftError) -> Network.Output {
    var x = try layer(
      network, "features.0", network.input,
      Convolution(filters: 32, stride: .init(2), padding: .init(1)))
    var number = 1
    for stage in ImageNetMobileNetV2.stages {
      for block in 0..<stage.repeats {
        x = try invertedResidual(
          network, "features.\(number).conv", x, expansion: stage.expansion,
          filters: stage.filters, stride: block == 0 ? stage.stride : 1)
        number += 1
      }
    }
    x = try layer(network, "features.\(number)", x, pointwise(1280))
    return try network.dropout(try network.globalPool(x), probability: dropout)
  }

  private func pointwise(_ filters: Int) -> Convolution {
    Convolution(filters: filters, kernel: .init(1))
  }

  /// Convolution, batch norm, rectifier.
  private func layer(
    _ network: Network, _ name: String, _ input: Network.Output, _ settings: Convolution
  ) throws(GraftError) -> Network.Output {
    let x = try network.convolution("\(name).0", input, settings)
    return try network.clippedRelu(try network.batchNorm("\(name).1", x))
  }

  private func invertedResidual(
    _ network: Network, _ name: String, _ input: Network.Output, expansion: Int, filters: Int,
    stride: Int
  ) throws(GraftError) -> Network.Output {
    let channels = try network.shape(of: input).channels
    let wide = expansion * channels
    var x = input
    var place = 0
    if expansion > 1 {
      x = try layer(network, "\(name).0", x, pointwise(wide))
      place = 1
    }
    x = try layer(
      network, "\(name).\(place)", x,
      Convolution(filters: wide, stride: .init(stride), padding: .init(1), groups: wide))
    x = try network.convolution("\(name).\(place + 1)", x, pointwise(filters))
    x = try network.batchNorm("\(name).\(place + 2)", x)
    return stride == 1 && channels == filters ? try network.sum(input, x) : x
  }
}
