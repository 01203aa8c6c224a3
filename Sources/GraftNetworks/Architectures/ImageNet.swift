import GraftSupport

/// The networks for images of ImageNet's size, with torchvision's names, shapes and defaults.
public struct ImageNet: Equatable, Sendable {
  /// The numbers are those of `graft_imagenet_model`.
  public enum Model: UInt32, Sendable, CaseIterable {
    case resNet18 = 0
    case resNet34 = 1
    case resNet50 = 2
    case resNet101 = 3
    case resNet152 = 4
    case resNeXt50x32x4d = 5
    case resNeXt101x32x8d = 6
    case wideResNet50x2 = 7
    case mobileNetV2 = 8
    case denseNet121 = 9
    case denseNet169 = 10
    case denseNet201 = 11
    case denseNet161 = 12
  }

  public var model = Model.resNet50
  public var classes = 1000
  public var input = ImageShape(channels: 3, height: 224, width: 224)
  /// Probability of MobileNetV2's dropout before the classifier or of DenseNet's in its layers; nil
  /// for torchvision's. ResNets have none.
  public var dropout: Double?

  public init() {}

  /// Makes the network.
  public func makeNetwork(seed: UInt64) throws(GraftError) -> Network {
    try check(classes: classes)
    let network = try Network(input: input)
    let features: Network.Output
    var classifier = "fc"
    switch model {
    case .resNet18: features = try ImageNetResNet([2, 2, 2, 2], .basic).add(to: network)
    case .resNet34: features = try ImageNetResNet([3, 4, 6, 3], .basic).add(to: network)
    case .resNet50: features = try ImageNetResNet([3, 4, 6, 3], .bottleneck()).add(to: network)
    case .resNet101: features = try ImageNetResNet([3, 4, 23, 3], .bottleneck()).add(to: network)
    case .resNet152: features = try ImageNetResNet([3, 8, 36, 3], .bottleneck()).add(to: network)
    case .resNeXt50x32x4d:
      features = try ImageNetResNet([3, 4, 6, 3], .bottleneck(groups: 32, width: 4)).add(
        to: network)
    case .resNeXt101x32x8d:
      features = try ImageNetResNet([3, 4, 23, 3], .bottleneck(groups: 32, width: 8)).add(
        to: network)
    case .wideResNet50x2:
      features = try ImageNetResNet([3, 4, 6, 3], .bottleneck(width: 128)).add(to: network)
    case .mobileNetV2:
      features = try ImageNetMobileNetV2(dropout: dropout ?? 0.2).add(to: network)
      classifier = "classifier.1"
    case .denseNet121: features = try dense([6, 12, 24, 16], network, &classifier)
    case .denseNet169: features = try dense([6, 12, 32, 32], network, &classifier)
    case .denseNet201: features = try dense([6, 12, 48, 32], network, &classifier)
    case .denseNet161:
      features = try dense([6, 12, 36, 24], growth: 48, stem: 96, network, &classifier)
    }
    try network.finish(
      output: try network.linear(classifier, features, features: classes), seed: seed)
    return network
  }

  private func dense(
    _ layers: [Int], growth: Int = 32, stem: Int = 64, _ network: Network,
    _ classifier: inout String
  ) throws(GraftError) -> Network.Output {
    classifier = "classifier"
    return try ImageNetDenseNet(
      layers: layers, growth: growth, stem: stem, dropout: dropout ?? 0
    ).add(to: network)
  }
}
