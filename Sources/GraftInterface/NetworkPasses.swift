import CGraft
import GraftNetworks
import GraftSupport

// graft/network.h: running a network forward and backward.

@implementation @_cdecl("graft_network_set_threads")
public func graft_network_set_threads(_ network: OpaquePointer?, _ threads: Int32) -> graft_status {
  status { () throws(GraftError) in
    let network = try object(network, Network.self, "network")
    network.threads = try threadCount(threads)
  }
}

@implementation @_cdecl("graft_network_set_precision")
public func graft_network_set_precision(_ network: OpaquePointer?, _ given: graft_precision)
  -> graft_status
{
  status { () throws(GraftError) in
    let network = try object(network, Network.self, "network")
    network.precision = try precision(given)
  }
}

func precision(_ given: graft_precision) throws(GraftError) -> Precision {
  guard let precision = Precision(rawValue: Int(given.rawValue)) else {
    throw GraftError(
      .invalidArgument, "precision is \(given.rawValue); it must be a graft_precision")
  }
  return precision
}

@implementation @_cdecl("graft_network_set_dropout")
public func graft_network_set_dropout(_ network: OpaquePointer?, _ seed: UInt64, _ step: UInt64)
  -> graft_status
{
  status { () throws(GraftError) in
    let network = try object(network, Network.self, "network")
    network.randomness = Network.Randomness(seed: seed, step: step)
  }
}

@implementation @_cdecl("graft_network_output_shape")
public func graft_network_output_shape(
  _ network: OpaquePointer?, _ shape: UnsafeMutablePointer<Int64>?
) -> graft_status {
  status { () throws(GraftError) in
    let network = try object(network, Network.self, "network")
    try put(try network.outputShape, in: shape)
  }
}

/// Writes a shape as channels, height and width.
func put(_ shape: ImageShape, in pointer: UnsafeMutablePointer<Int64>?) throws(GraftError) {
  let pointer = try required(pointer, "shape")
  pointer[0] = Int64(shape.channels)
  pointer[1] = Int64(shape.height)
  pointer[2] = Int64(shape.width)
}

@implementation @_cdecl("graft_network_forward")
public func graft_network_forward(
  _ handle: OpaquePointer?, _ mode: graft_mode, _ input: UnsafePointer<graft_tensor>?,
  _ output: UnsafePointer<graft_tensor>?
) -> graft_status {
  status { () throws(GraftError) in
    let network = try object(handle, Network.self, "network")
    guard mode == GRAFT_EVALUATION || mode == GRAFT_TRAINING else {
      throw GraftError(.invalidArgument, "mode is \(mode.rawValue); it must be a graft_mode")
    }
    _ = try network.output()
    try network.forward(
      try tensor(input, "images"), training: mode == GRAFT_TRAINING,
      to: try tensor(output, "output"))
  }
}

@implementation @_cdecl("graft_network_infer")
public func graft_network_infer(
  _ handle: OpaquePointer?, _ input: UnsafePointer<graft_tensor>?,
  _ output: UnsafePointer<graft_tensor>?
) -> graft_status {
  status { () throws(GraftError) in
    let network = try object(handle, Network.self, "network")
    _ = try network.output()
    try network.infer(try tensor(input, "images"), to: try tensor(output, "output"))
  }
}

@implementation @_cdecl("graft_network_backward")
public func graft_network_backward(
  _ handle: OpaquePointer?, _ outputGradient: UnsafePointer<graft_tensor>?,
  _ inputGradient: UnsafePointer<graft_tensor>?
) -> graft_status {
  status { () throws(GraftError) in
    let network = try object(handle, Network.self, "network")
    _ = try network.openImages
    let given = try tensor(outputGradient, "output_gradient")
    let wanted = try inputGradient.map { (pointer) throws(GraftError) in
      try tensor(pointer, "input_gradient")
    }
    try network.backward(given, to: wanted)
  }
}
