import GraftSupport
import Grafting

extension Network {
  /// What follows what in a graft, read off the structure: every convolution and linear layer
  /// decides for itself, but a linear layer fed by convolution features (through pooling or
  /// flattening) takes that convolution's coefficient; biases and batch norms take that of the
  /// layer that feeds them, after a sum or a concatenation that of the layer that runs last before
  /// it.
  public func graftPlan() throws(GraftError) -> GraftPlan {
    let places = Dictionary(
      tensors.enumerated().map { (ObjectIdentifier($1), $0) },
      uniquingKeysWith: { first, _ in first })
    func place(_ tensor: NetworkTensor) throws(GraftError) -> Int {
      guard let index = places[ObjectIdentifier(tensor)] else {
        throw GraftError(.internal, "\(tensor.name) is no tensor of its network")
      }
      return index
    }
    var views: [TensorView] = []
    for tensor in tensors { views.append(try tensor.view) }
    var plan = GraftPlan(byOrderOf: views)
    // Layers first: a follower's feeder has to be one already, and no layer may be left as a
    // follower.
    let weights = graphNodes.map { $0.layer.weight }
    for case let weight? in weights { try plan.set(try place(weight), to: .layer) }

    /// The tensor whose coefficient holds for what a node puts out, with the node's number.
    var feeders: [(tensor: Int, node: Int, isConvolution: Bool)?] = []
    for (index, node) in graphNodes.enumerated() {
      let fed = node.inputs.compactMap { feeders[$0] }.max { $0.node < $1.node }
      func follow(_ tensor: NetworkTensor?, _ feeder: Int?) throws(GraftError) {
        guard let tensor else { return }
        try plan.set(try place(tensor), to: feeder.map { .follows($0) } ?? .half)
      }
      switch node.layer {
      case .convolution(_, let weight, let bias):
        let own = try place(weight)
        try follow(bias, own)
        feeders.append((own, index, true))
      case .linear(let weight, let bias):
        let own = try place(weight)
        if let fed, fed.isConvolution {
          try plan.set(own, to: .follows(fed.tensor))
          try follow(bias, fed.tensor)
          feeders.append((fed.tensor, index, false))
        } else {
          try follow(bias, own)
          feeders.append((own, index, false))
        }
      case .batchNorm(let norm):
        for tensor in [norm.weight, norm.bias, norm.mean, norm.variance] {
          try follow(tensor, fed?.tensor)
        }
        feeders.append(fed)
      case .input, .sum, .rectifier, .shortcut, .pool, .globalPool, .concatenation, .dropout:
        feeders.append(fed)
      }
    }
    try setScales(&plan, place)
    return plan
  }

  /// Which batch-norm scales belong to filters, and which to input channels. A norm of a sum is
  /// nobody's filters'.
  private func setScales(
    _ plan: inout GraftPlan, _ place: (NetworkTensor) throws(GraftError) -> Int
  ) throws(GraftError) {
    // What scales the channels that a node puts out.
    var scales: [Int?] = []
    for node in graphNodes {
      let fed = node.inputs.first.flatMap { scales[$0] }
      switch node.layer {
      case .convolution(_, let weight, _), .linear(let weight, _):
        try plan.setScales(try place(weight), scale: nil, inputScale: fed)
        scales.append(nil)
      case .batchNorm(let norm):
        let scale = try place(norm.weight)
        for tensor in [norm.weight, norm.bias, norm.mean, norm.variance] {
          try plan.setScales(try place(tensor), scale: scale, inputScale: nil)
        }
        if let before = node.inputs.first, let weight = graphNodes[before].layer.weight {
          let own = try place(weight)
          try plan.setScales(own, scale: scale, inputScale: plan.entries[own].inputScale)
          if let bias = graphNodes[before].layer.bias {
            try plan.setScales(try place(bias), scale: scale, inputScale: nil)
          }
        }
        scales.append(scale)
      case .rectifier, .pool, .globalPool, .dropout: scales.append(fed)
      case .input, .sum, .shortcut, .concatenation: scales.append(nil)
      }
    }
  }
}

extension Layer {
  fileprivate var bias: NetworkTensor? {
    switch self {
    case .convolution(_, _, let bias), .linear(_, let bias): bias
    default: nil
    }
  }

  fileprivate var weight: NetworkTensor? {
    switch self {
    case .convolution(_, let weight, _), .linear(let weight, _): weight
    default: nil
    }
  }
}
