// Grafts three networks of one's own, from Swift.
//
//   make build       (installs the C libraries that Graft is built from)
//   swift run --package-path examples/swift Example
import Graft

/// Stands for training: uniform numbers to the power 2k + 1, and a filter that died.
func train(_ k: Int) throws -> [Tensor] {
  var state = UInt32(k + 1)
  func weights(_ name: String, _ shape: [Int]) throws -> Tensor {
    let values = (0..<shape.reduce(1, *)).map { _ in
      state = state &* 1_664_525 &+ 1_013_904_223
      let uniform = Double(state) / 2_147_483_648 - 1
      return Float((0..<k).reduce(uniform) { value, _ in value * (uniform * uniform) })
    }
    return try Tensor(name, shape: shape, values: values)
  }
  var network = [
    try weights("conv", [8, 3, 3, 3]), try weights("norm", [8]), try weights("linear", [4, 8]),
  ]
  try network[0].withUnsafeMutableBufferPointer { conv in
    for i in k * 27..<(k + 1) * 27 { conv[i] *= 0.001 }
  }
  return network
}

var networks = try (0..<3).map(train)
let report = try graft(&networks)
print(report)
for (k, network) in networks.enumerated() {
  print("network \(k): last weight", network[2].values.last ?? .nan)
}
