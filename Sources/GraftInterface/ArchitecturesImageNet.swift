import CGraft
import GraftNetworks
import GraftSupport

// graft/architectures.h: networks for images of ImageNet's size.

private let imageNetDefaults: graft_imagenet_options = {
  let imageNet = ImageNet()
  return graft_imagenet_options(
    struct_size: MemoryLayout<graft_imagenet_options>.size, model: GRAFT_IMAGENET_RESNET50,
    classes: Int64(imageNet.classes), channels: Int64(imageNet.input.channels),
    height: Int64(imageNet.input.height), width: Int64(imageNet.input.width), dropout: -1, seed: 0)
}()

@implementation @_cdecl("graft_imagenet_options_init")
public func graft_imagenet_options_init(
  _ options: UnsafeMutablePointer<graft_imagenet_options>?, _ size: Int
) {
  fill(options, size: size, with: imageNetDefaults)
}

@implementation @_cdecl("graft_network_imagenet")
public func graft_network_imagenet(
  _ given: UnsafePointer<graft_imagenet_options>?, _ network: UnsafeMutablePointer<OpaquePointer?>?
) -> graft_status {
  status { () throws(GraftError) in
    let network = try required(network, "network")
    let given = try options(given, defaults: imageNetDefaults, name: "options")
    var imageNet = ImageNet()
    guard let model = ImageNet.Model(rawValue: given.model.rawValue) else {
      throw GraftError(
        .invalidArgument, "model is \(given.model.rawValue); it must be a graft_imagenet_model")
    }
    imageNet.model = model
    imageNet.classes = Int(clamping: given.classes)
    imageNet.input = try inputShape(given.channels, given.height, given.width)
    guard given.dropout == -1 || (given.dropout >= 0 && given.dropout < 1) else {
      throw GraftError(
        .invalidArgument,
        "dropout is \(given.dropout); allowed are 0 to 1, 1 excluded, and -1 for the model's own")
    }
    imageNet.dropout = given.dropout == -1 ? nil : given.dropout
    network.pointee = try makeHandle(try imageNet.makeNetwork(seed: given.seed))
  }
}
