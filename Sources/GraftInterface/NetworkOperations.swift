import CGraft
import GraftNetworks
import GraftSupport

// graft/operations.h.

@implementation @_cdecl("graft_network_operation_count")
public func graft_network_operation_count(_ network: OpaquePointer?) -> Int {
  (try? object(network, Network.self, "network"))?.operationCount ?? 0
}

/// An operation as C sees it: the fields that its kind has.
private func described(_ operation: OperationDescription) -> graft_operation {
  var to = graft_operation()
  to.struct_size = MemoryLayout<graft_operation>.size
  to.kind = graft_operation_kind(rawValue: operation.kind.rawValue)
  to.channels = Int64(operation.shape.channels)
  to.height = Int64(operation.shape.height)
  to.width = Int64(operation.shape.width)
  to.first_tensor = operation.tensors.lowerBound
  to.tensor_count = operation.tensors.count
  func set(
    _ kernel: Convolution.Extent, _ stride: Convolution.Extent, _ padding: Convolution.Extent
  ) {
    (to.kernel_height, to.kernel_width) = (Int64(kernel.height), Int64(kernel.width))
    (to.stride_height, to.stride_width) = (Int64(stride.height), Int64(stride.width))
    (to.padding_height, to.padding_width) = (Int64(padding.height), Int64(padding.width))
  }
  if let convolution = operation.convolution {
    set(convolution.kernel, convolution.stride, convolution.padding)
    to.dilation_height = Int64(convolution.dilation.height)
    to.dilation_width = Int64(convolution.dilation.width)
    to.groups = Int64(convolution.groups)
  }
  if let pooling = operation.pooling {
    set(.init(pooling.kernel), .init(pooling.stride), .init(pooling.padding))
    to.pooling = pooling.kind == .average ? GRAFT_POOLING_AVERAGE : GRAFT_POOLING_MAX
  }
  if let (stride, firstChannel) = operation.shortcut {
    (to.stride_height, to.stride_width) = (Int64(stride), Int64(stride))
    to.first_channel = Int64(firstChannel)
  }
  if let norm = operation.norm { (to.epsilon, to.momentum) = norm }
  if let rectifier = operation.rectifier { (to.negative_slope, to.ceiling) = rectifier }
  if let probability = operation.probability { to.probability = probability }
  return to
}

@implementation @_cdecl("graft_network_operation")
public func graft_network_operation(
  _ network: OpaquePointer?, _ index: Int, _ operation: UnsafeMutablePointer<graft_operation>?
) -> graft_status {
  status { () throws(GraftError) in
    let network = try object(network, Network.self, "network")
    let index = try size(index, "index", in: 0...network.operationCount - 1)
    let found = network.operation(index)
    let memory = try network.memory(of: index)
    var result = described(found)
    result.name = UnsafePointer(memory.name.pointer)
    result.inputs = UnsafePointer(memory.inputs.pointer)
    result.input_count = found.inputs.count
    try write(result, to: operation, name: "operation")
  }
}

@implementation @_cdecl("graft_network_set_timing")
public func graft_network_set_timing(_ network: OpaquePointer?, _ on: Int32) -> graft_status {
  status { () throws(GraftError) in
    try object(network, Network.self, "network").isTiming = try flag(on, "on")
  }
}

@implementation @_cdecl("graft_network_operation_time")
public func graft_network_operation_time(
  _ network: OpaquePointer?, _ index: Int, _ forward: UnsafeMutablePointer<Double>?,
  _ backward: UnsafeMutablePointer<Double>?
) -> graft_status {
  status { () throws(GraftError) in
    let network = try object(network, Network.self, "network")
    let index = try size(index, "index", in: 0...network.operationCount - 1)
    let (forward, backward) = (try required(forward, "forward"), try required(backward, "backward"))
    (forward.pointee, backward.pointee) = try network.time(of: index)
  }
}

private func put(
  _ value: Network.Output, in pointer: UnsafeMutablePointer<graft_value>?, _ name: String
) throws(GraftError) {
  try required(pointer, name).pointee = graft_value(truncatingIfNeeded: value.index)
}

@implementation @_cdecl("graft_network_output")
public func graft_network_output(
  _ network: OpaquePointer?, _ output: UnsafeMutablePointer<graft_value>?
) -> graft_status {
  status { () throws(GraftError) in
    try put(try object(network, Network.self, "network").output(), in: output, "output")
  }
}

// MARK: Names

@implementation @_cdecl("graft_network_label")
public func graft_network_label(
  _ network: OpaquePointer?, _ value: graft_value, _ name: UnsafePointer<CChar>?
) -> graft_status {
  status { () throws(GraftError) in
    let network = try object(network, Network.self, "network")
    try network.label(Network.Output(index: Int(value)), try text(name, "name"))
  }
}

@implementation @_cdecl("graft_network_find")
public func graft_network_find(
  _ network: OpaquePointer?, _ name: UnsafePointer<CChar>?,
  _ value: UnsafeMutablePointer<graft_value>?
) -> graft_status {
  status { () throws(GraftError) in
    let network = try object(network, Network.self, "network")
    try put(try network.value(named: try text(name, "name")), in: value, "value")
  }
}

// MARK: Features

@implementation @_cdecl("graft_network_penultimate")
public func graft_network_penultimate(
  _ network: OpaquePointer?, _ value: UnsafeMutablePointer<graft_value>?
) -> graft_status {
  status { () throws(GraftError) in
    try put(try object(network, Network.self, "network").penultimate(), in: value, "value")
  }
}

@implementation @_cdecl("graft_network_features")
public func graft_network_features(
  _ network: OpaquePointer?, _ value: graft_value, _ images: UnsafePointer<graft_tensor>?,
  _ output: UnsafePointer<graft_tensor>?
) -> graft_status {
  status { () throws(GraftError) in
    let network = try object(network, Network.self, "network")
    _ = try network.output()
    try network.features(
      Network.Output(index: Int(value)), of: try tensor(images, "images"),
      to: try tensor(output, "output"))
  }
}

// MARK: Grafting

@implementation @_cdecl("graft_network_plan")
public func graft_network_plan(
  _ network: OpaquePointer?, _ plan: UnsafeMutablePointer<OpaquePointer?>?
) -> graft_status {
  status { () throws(GraftError) in
    let network = try object(network, Network.self, "network")
    let plan = try required(plan, "plan")
    _ = try network.output()
    plan.pointee = try makeHandle(PlanBox(try network.graftPlan()))
  }
}
