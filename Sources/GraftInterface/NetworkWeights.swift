import CGraft
import GraftNetworks
import GraftSupport

// graft/network.h: a network's tensors.

@implementation @_cdecl("graft_network_tensor_count")
public func graft_network_tensor_count(_ network: OpaquePointer?) -> Int {
  (try? object(network, Network.self, "network"))?.tensors.count ?? 0
}

/// The network behind a handle, finished.
func finishedNetwork(_ handle: OpaquePointer?, _ name: String) throws(GraftError) -> Network {
  let network = try object(handle, Network.self, name)
  guard network.isFinished else {
    throw GraftError(
      .invalidState, "\(name) is under construction: call graft_network_finish first")
  }
  return network
}

/// A finished network's tensor.
private func networkTensor(_ network: Network, _ index: Int) throws(GraftError) -> NetworkTensor {
  network.tensors[try ordinal(index, "index", of: network.tensors.count)]
}

/// Describes a tensor that the network owns. Name and shape live as long as the network.
private func describe(
  _ view: TensorView, of tensor: NetworkTensor, in pointer: UnsafeMutablePointer<graft_tensor>?
) throws(GraftError) {
  let description = try tensor.description()
  try write(
    graft_tensor(
      struct_size: MemoryLayout<graft_tensor>.size, name: description.name, data: view.data,
      dtype: graft_dtype(rawValue: view.type.rawValue), rank: Int32(view.shape.count),
      shape: description.shape, strides: nil),
    to: pointer, name: "tensor")
}

@implementation @_cdecl("graft_network_tensor")
public func graft_network_tensor(
  _ network: OpaquePointer?, _ index: Int, _ tensor: UnsafeMutablePointer<graft_tensor>?
) -> graft_status {
  status { () throws(GraftError) in
    let network = try finishedNetwork(network, "network")
    let found = try networkTensor(network, index)
    try describe(try found.view, of: found, in: tensor)
  }
}

@implementation @_cdecl("graft_network_gradient")
public func graft_network_gradient(
  _ network: OpaquePointer?, _ index: Int, _ tensor: UnsafeMutablePointer<graft_tensor>?
) -> graft_status {
  status { () throws(GraftError) in
    let network = try finishedNetwork(network, "network")
    let found = try networkTensor(network, index)
    try describe(try network.gradient(of: found), of: found, in: tensor)
  }
}

@implementation @_cdecl("graft_network_copy")
public func graft_network_copy(_ network: OpaquePointer?, _ from: OpaquePointer?) -> graft_status {
  status { () throws(GraftError) in
    let network = try finishedNetwork(network, "network")
    try network.copyWeights(from: try finishedNetwork(from, "from"))
  }
}
