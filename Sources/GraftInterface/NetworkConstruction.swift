import CGraft
import GraftNetworks
import GraftSupport

// graft/network.h: making a network.

@implementation @_cdecl("graft_network_create")
public func graft_network_create(
  _ channels: Int64, _ height: Int64, _ width: Int64,
  _ network: UnsafeMutablePointer<OpaquePointer?>?
) -> graft_status {
  status { () throws(GraftError) in
    let network = try required(network, "network")
    let dimensions = 1...ImageShape.largestDimension
    let shape = ImageShape(
      channels: try integer(channels, "channels", in: dimensions),
      height: try integer(height, "height", in: dimensions),
      width: try integer(width, "width", in: dimensions))
    network.pointee = try makeHandle(try Network(input: shape))
  }
}

@implementation @_cdecl("graft_network_destroy")
public func graft_network_destroy(_ network: OpaquePointer?) {
  destroyHandle(network, Network.self)
}

private let convolutionDefaults = graft_convolution_options(
  struct_size: MemoryLayout<graft_convolution_options>.size, filters: 0, kernel_height: 3,
  kernel_width: 3, stride_height: 1, stride_width: 1, padding_height: 0, padding_width: 0,
  dilation_height: 1, dilation_width: 1, groups: 1, bias: 0)

@implementation @_cdecl("graft_convolution_options_init")
public func graft_convolution_options_init(
  _ options: UnsafeMutablePointer<graft_convolution_options>?, _ size: Int
) {
  fill(options, size: size, with: convolutionDefaults)
}

/// Adds a layer to the network behind a handle and writes the value that it puts out.
private func add(
  _ network: OpaquePointer?, _ output: UnsafeMutablePointer<graft_value>?,
  _ layer: (Network) throws(GraftError) -> Network.Output
) -> graft_status {
  status { () throws(GraftError) in
    let network = try object(network, Network.self, "network")
    let output = try required(output, "output")
    output.pointee = graft_value(truncatingIfNeeded: try layer(network).index)
  }
}

private func value(_ given: graft_value) -> Network.Output { Network.Output(index: Int(given)) }

/// A whole number that the network itself checks against its range.
private func whole(_ given: Int64) -> Int { Int(clamping: given) }

@implementation @_cdecl("graft_network_convolution")
public func graft_network_convolution(
  _ network: OpaquePointer?, _ name: UnsafePointer<CChar>?, _ input: graft_value,
  _ given: UnsafePointer<graft_convolution_options>?, _ output: UnsafeMutablePointer<graft_value>?
) -> graft_status {
  add(network, output) { network throws(GraftError) in
    let given = try options(
      try required(given, "options"), defaults: convolutionDefaults, name: "options")
    let settings = Convolution(
      filters: whole(given.filters),
      kernel: .init(whole(given.kernel_height), whole(given.kernel_width)),
      stride: .init(whole(given.stride_height), whole(given.stride_width)),
      padding: .init(whole(given.padding_height), whole(given.padding_width)),
      dilation: .init(whole(given.dilation_height), whole(given.dilation_width)),
      groups: whole(given.groups), bias: try flag(given.bias, "bias"))
    return try network.convolution(try text(name, "name"), value(input), settings)
  }
}

@implementation @_cdecl("graft_network_batch_norm")
public func graft_network_batch_norm(
  _ network: OpaquePointer?, _ name: UnsafePointer<CChar>?, _ input: graft_value,
  _ epsilon: Double, _ momentum: Double, _ output: UnsafeMutablePointer<graft_value>?
) -> graft_status {
  add(network, output) { network throws(GraftError) in
    try network.batchNorm(
      try text(name, "name"), value(input), epsilon: epsilon, momentum: momentum)
  }
}

@implementation @_cdecl("graft_network_relu")
public func graft_network_relu(
  _ network: OpaquePointer?, _ input: graft_value, _ negativeSlope: Double,
  _ output: UnsafeMutablePointer<graft_value>?
) -> graft_status {
  add(network, output) { network throws(GraftError) in
    try network.relu(value(input), negativeSlope: negativeSlope)
  }
}

@implementation @_cdecl("graft_network_clipped_relu")
public func graft_network_clipped_relu(
  _ network: OpaquePointer?, _ input: graft_value, _ ceiling: Double,
  _ output: UnsafeMutablePointer<graft_value>?
) -> graft_status {
  add(network, output) { network throws(GraftError) in
    try network.clippedRelu(value(input), ceiling: ceiling)
  }
}

@implementation @_cdecl("graft_network_concatenation")
public func graft_network_concatenation(
  _ network: OpaquePointer?, _ inputs: UnsafePointer<graft_value>?, _ count: Int,
  _ output: UnsafeMutablePointer<graft_value>?
) -> graft_status {
  add(network, output) { network throws(GraftError) in
    let inputs = try required(inputs, "inputs")
    let count = try size(count, "count", in: 1...Network.largestJoin)
    return try network.concatenation((0..<count).map { value(inputs[$0]) })
  }
}

@implementation @_cdecl("graft_network_dropout")
public func graft_network_dropout(
  _ network: OpaquePointer?, _ input: graft_value, _ probability: Double,
  _ output: UnsafeMutablePointer<graft_value>?
) -> graft_status {
  add(network, output) { network throws(GraftError) in
    try network.dropout(value(input), probability: probability)
  }
}

@implementation @_cdecl("graft_network_sum")
public func graft_network_sum(
  _ network: OpaquePointer?, _ a: graft_value, _ b: graft_value,
  _ output: UnsafeMutablePointer<graft_value>?
) -> graft_status {
  add(network, output) { network throws(GraftError) in try network.sum(value(a), value(b)) }
}

@implementation @_cdecl("graft_network_shortcut")
public func graft_network_shortcut(
  _ network: OpaquePointer?, _ input: graft_value, _ stride: Int64, _ channels: Int64,
  _ output: UnsafeMutablePointer<graft_value>?
) -> graft_status {
  add(network, output) { network throws(GraftError) in
    try network.shortcut(value(input), stride: whole(stride), channels: whole(channels))
  }
}

@implementation @_cdecl("graft_network_pool")
public func graft_network_pool(
  _ network: OpaquePointer?, _ input: graft_value, _ pooling: graft_pooling, _ kernel: Int64,
  _ stride: Int64, _ padding: Int64, _ output: UnsafeMutablePointer<graft_value>?
) -> graft_status {
  add(network, output) { network throws(GraftError) in
    let kind: Pooling.Kind
    switch pooling {
    case GRAFT_POOLING_MAX: kind = .maximum
    case GRAFT_POOLING_AVERAGE: kind = .average
    default:
      throw GraftError(
        .invalidArgument, "pooling is \(pooling.rawValue); it must be a graft_pooling")
    }
    return try network.pool(
      value(input),
      Pooling(kind, kernel: whole(kernel), stride: whole(stride), padding: whole(padding)))
  }
}

@implementation @_cdecl("graft_network_global_pool")
public func graft_network_global_pool(
  _ network: OpaquePointer?, _ input: graft_value, _ output: UnsafeMutablePointer<graft_value>?
) -> graft_status {
  add(network, output) { network throws(GraftError) in try network.globalPool(value(input)) }
}

@implementation @_cdecl("graft_network_linear")
public func graft_network_linear(
  _ network: OpaquePointer?, _ name: UnsafePointer<CChar>?, _ input: graft_value,
  _ features: Int64, _ bias: Int32, _ output: UnsafeMutablePointer<graft_value>?
) -> graft_status {
  add(network, output) { network throws(GraftError) in
    try network.linear(
      try text(name, "name"), value(input), features: whole(features), bias: try flag(bias, "bias"))
  }
}

@implementation @_cdecl("graft_network_finish")
public func graft_network_finish(_ network: OpaquePointer?, _ output: graft_value, _ seed: UInt64)
  -> graft_status
{
  status { () throws(GraftError) in
    try object(network, Network.self, "network").finish(output: value(output), seed: seed)
  }
}
