import Graft

/// A network's weights, in the order in which it runs.
func network() throws -> [Tensor] {
  try [
    Tensor("conv", shape: [16, 3, 3, 3]), Tensor("bias", shape: [16]),
    Tensor("linear", shape: [10, 16]),
  ]
}

/// Stands for an epoch of your own.
func train(_ network: inout [Tensor]) throws {
  for layer in network.indices {
    try network[layer].withUnsafeMutableBufferPointer { weights in
      for i in weights.indices { weights[i] += Float.random(in: -0.5...0.5) }
    }
  }
}

var networks = try (0..<3).map { _ in try network() }
var settings = GraftOperator()  // the paper's; change what you want
settings.source = .ring

for epoch in 1...3 {
  for k in networks.indices { try train(&networks[k]) }
  let report = try graft(&networks, with: settings)
  if let conv = report.layers.first {
    print("epoch \(epoch): \(conv.name) of network 0 keeps \(conv.networks[0].alpha) of itself")
  }
}
