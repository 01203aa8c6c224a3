import CGraft
import GraftNetworks
import GraftSupport

// graft/architectures.h.

/// An input's shape, each dimension within what a network takes.
func inputShape(_ channels: Int64, _ height: Int64, _ width: Int64) throws(GraftError)
  -> ImageShape
{
  let dimensions = 1...ImageShape.largestDimension
  return ImageShape(
    channels: try integer(channels, "channels", in: dimensions),
    height: try integer(height, "height", in: dimensions),
    width: try integer(width, "width", in: dimensions))
}

// MARK: ResNet

private let resNetDefaults: graft_resnet_options = {
  let resNet = ResNet()
  return graft_resnet_options(
    struct_size: MemoryLayout<graft_resnet_options>.size, depth: Int64(resNet.depth),
    classes: Int64(resNet.classes), channels: Int64(resNet.input.channels),
    height: Int64(resNet.input.height), width: Int64(resNet.input.width),
    base_filters: Int64(resNet.baseFilters), shortcut: GRAFT_SHORTCUT_A,
    negative_slope: resNet.negativeSlope, seed: 0)
}()

@implementation @_cdecl("graft_resnet_options_init")
public func graft_resnet_options_init(
  _ options: UnsafeMutablePointer<graft_resnet_options>?, _ size: Int
) {
  fill(options, size: size, with: resNetDefaults)
}

@implementation @_cdecl("graft_network_resnet")
public func graft_network_resnet(
  _ given: UnsafePointer<graft_resnet_options>?, _ network: UnsafeMutablePointer<OpaquePointer?>?
) -> graft_status {
  status { () throws(GraftError) in
    let network = try required(network, "network")
    let given = try options(given, defaults: resNetDefaults, name: "options")
    var resNet = ResNet()
    resNet.depth = Int(clamping: given.depth)
    resNet.classes = Int(clamping: given.classes)
    resNet.input = try inputShape(given.channels, given.height, given.width)
    resNet.baseFilters = Int(clamping: given.base_filters)
    switch given.shortcut {
    case GRAFT_SHORTCUT_A: resNet.shortcut = .padded
    case GRAFT_SHORTCUT_B: resNet.shortcut = .projected
    default:
      throw GraftError(
        .invalidArgument, "shortcut is \(given.shortcut.rawValue); it must be a graft_shortcut")
    }
    resNet.negativeSlope = try number(given.negative_slope, "negative_slope", in: 0...1)
    network.pointee = try makeHandle(try resNet.makeNetwork(seed: given.seed))
  }
}

// MARK: MobileNetV2

private let mobileNetDefaults: graft_mobilenet_options = {
  let mobileNet = MobileNetV2()
  return graft_mobilenet_options(
    struct_size: MemoryLayout<graft_mobilenet_options>.size, classes: Int64(mobileNet.classes),
    channels: Int64(mobileNet.input.channels), height: Int64(mobileNet.input.height),
    width: Int64(mobileNet.input.width), seed: 0)
}()

@implementation @_cdecl("graft_mobilenet_options_init")
public func graft_mobilenet_options_init(
  _ options: UnsafeMutablePointer<graft_mobilenet_options>?, _ size: Int
) {
  fill(options, size: size, with: mobileNetDefaults)
}

@implementation @_cdecl("graft_network_mobilenet")
public func graft_network_mobilenet(
  _ given: UnsafePointer<graft_mobilenet_options>?, _ network: UnsafeMutablePointer<OpaquePointer?>?
) -> graft_status {
  status { () throws(GraftError) in
    let network = try required(network, "network")
    let given = try options(given, defaults: mobileNetDefaults, name: "options")
    var mobileNet = MobileNetV2()
    mobileNet.classes = Int(clamping: given.classes)
    mobileNet.input = try inputShape(given.channels, given.height, given.width)
    network.pointee = try makeHandle(try mobileNet.makeNetwork(seed: given.seed))
  }
}

// MARK: VGG

private let vggDefaults: graft_vgg_options = {
  let vgg = VGG()
  return graft_vgg_options(
    struct_size: MemoryLayout<graft_vgg_options>.size,
    depth: Int64(vgg.depth), classes: Int64(vgg.classes),
    channels: Int64(vgg.input.channels), height: Int64(vgg.input.height),
    width: Int64(vgg.input.width), seed: 0)
}()

@implementation @_cdecl("graft_vgg_options_init")
public func graft_vgg_options_init(
  _ options: UnsafeMutablePointer<graft_vgg_options>?, _ size: Int
) {
  fill(options, size: size, with: vggDefaults)
}

@implementation @_cdecl("graft_network_vgg")
public func graft_network_vgg(
  _ given: UnsafePointer<graft_vgg_options>?, _ network: UnsafeMutablePointer<OpaquePointer?>?
) -> graft_status {
  status { () throws(GraftError) in
    let network = try required(network, "network")
    let given = try options(given, defaults: vggDefaults, name: "options")
    var vgg = VGG()
    vgg.depth = Int(clamping: given.depth)
    vgg.classes = Int(clamping: given.classes)
    vgg.input = try inputShape(given.channels, given.height, given.width)
    network.pointee = try makeHandle(try vgg.makeNetwork(seed: given.seed))
  }
}

// MARK: WideResNet

private let wideResNetDefaults: graft_wide_resnet_options = {
  let wideResNet = WideResNet()
  return graft_wide_resnet_options(
    struct_size: MemoryLayout<graft_wide_resnet_options>.size,
    depth: Int64(wideResNet.depth), widen: Int64(wideResNet.widen),
    classes: Int64(wideResNet.classes),
    channels: Int64(wideResNet.input.channels), height: Int64(wideResNet.input.height),
    width: Int64(wideResNet.input.width), seed: 0, dropout: wideResNet.dropout)
}()

@implementation @_cdecl("graft_wide_resnet_options_init")
public func graft_wide_resnet_options_init(
  _ options: UnsafeMutablePointer<graft_wide_resnet_options>?, _ size: Int
) {
  fill(options, size: size, with: wideResNetDefaults)
}

@implementation @_cdecl("graft_network_wide_resnet")
public func graft_network_wide_resnet(
  _ given: UnsafePointer<graft_wide_resnet_options>?,
  _ network: UnsafeMutablePointer<OpaquePointer?>?
) -> graft_status {
  status { () throws(GraftError) in
    let network = try required(network, "network")
    let given = try options(given, defaults: wideResNetDefaults, name: "options")
    var wideResNet = WideResNet()
    wideResNet.depth = Int(clamping: given.depth)
    wideResNet.widen = Int(clamping: given.widen)
    wideResNet.classes = Int(clamping: given.classes)
    wideResNet.input = try inputShape(given.channels, given.height, given.width)
    wideResNet.dropout = given.dropout
    network.pointee = try makeHandle(try wideResNet.makeNetwork(seed: given.seed))
  }
}

// MARK: ResNeXt

private let resNeXtDefaults: graft_resnext_options = {
  let resNeXt = ResNeXt()
  return graft_resnext_options(
    struct_size: MemoryLayout<graft_resnext_options>.size, depth: Int64(resNeXt.depth),
    cardinality: Int64(resNeXt.cardinality), base_width: Int64(resNeXt.baseWidth),
    classes: Int64(resNeXt.classes), channels: Int64(resNeXt.input.channels),
    height: Int64(resNeXt.input.height), width: Int64(resNeXt.input.width), seed: 0)
}()

@implementation @_cdecl("graft_resnext_options_init")
public func graft_resnext_options_init(
  _ options: UnsafeMutablePointer<graft_resnext_options>?, _ size: Int
) {
  fill(options, size: size, with: resNeXtDefaults)
}

@implementation @_cdecl("graft_network_resnext")
public func graft_network_resnext(
  _ given: UnsafePointer<graft_resnext_options>?, _ network: UnsafeMutablePointer<OpaquePointer?>?
) -> graft_status {
  status { () throws(GraftError) in
    let network = try required(network, "network")
    let given = try options(given, defaults: resNeXtDefaults, name: "options")
    var resNeXt = ResNeXt()
    resNeXt.depth = Int(clamping: given.depth)
    resNeXt.cardinality = Int(clamping: given.cardinality)
    resNeXt.baseWidth = Int(clamping: given.base_width)
    resNeXt.classes = Int(clamping: given.classes)
    resNeXt.input = try inputShape(given.channels, given.height, given.width)
    network.pointee = try makeHandle(try resNeXt.makeNetwork(seed: given.seed))
  }
}

// MARK: DenseNet

private let denseNetDefaults: graft_densenet_options = {
  let denseNet = DenseNet()
  return graft_densenet_options(
    struct_size: MemoryLayout<graft_densenet_options>.size, depth: Int64(denseNet.depth),
    growth: Int64(denseNet.growth), base_filters: Int64(denseNet.baseFilters),
    bottleneck: denseNet.hasBottlenecks ? 1 : 0, reduction: denseNet.reduction,
    classes: Int64(denseNet.classes), channels: Int64(denseNet.input.channels), height: Int64(denseNet.input.height),
    width: Int64(denseNet.input.width), dropout: denseNet.dropout, seed: 0)
}()

@implementation @_cdecl("graft_densenet_options_init")
public func graft_densenet_options_init(
  _ options: UnsafeMutablePointer<graft_densenet_options>?, _ size: Int
) {
  fill(options, size: size, with: denseNetDefaults)
}

@implementation @_cdecl("graft_network_densenet")
public func graft_network_densenet(
  _ given: UnsafePointer<graft_densenet_options>?, _ network: UnsafeMutablePointer<OpaquePointer?>?
) -> graft_status {
  status { () throws(GraftError) in
    let network = try required(network, "network")
    let given = try options(given, defaults: denseNetDefaults, name: "options")
    var denseNet = DenseNet()
    denseNet.depth = Int(clamping: given.depth)
    denseNet.growth = Int(clamping: given.growth)
    denseNet.baseFilters = Int(clamping: given.base_filters)
    denseNet.hasBottlenecks = try flag(given.bottleneck, "bottleneck")
    denseNet.reduction = given.reduction
    denseNet.classes = Int(clamping: given.classes)
    denseNet.input = try inputShape(given.channels, given.height, given.width)
    denseNet.dropout = given.dropout
    network.pointee = try makeHandle(try denseNet.makeNetwork(seed: given.seed))
  }
}
