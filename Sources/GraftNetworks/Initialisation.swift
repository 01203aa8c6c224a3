import GraftSupport

/// Draws a network's initial weights: convolutions He normal over the fan out (He et al. 2015;
/// torch's kaiming_normal_ with mode="fan_out"), linear layers and biases uniform in +-1 / sqrt(fan
/// in) (torch's default), batch norm 1 and 0. Every tensor has a stream of its own, so one layer
/// more does not change the others' weights before it.
enum Initialisation {
  static func draw(_ tensors: [NetworkTensor], seed: UInt64) {
    var fanIn = 1
    for (index, tensor) in tensors.enumerated() {
      var random = RandomStream(seed: seed, purpose: .initialisation, UInt64(index))
      switch tensor.kind {
      case .weight:
        let receptive = tensor.shape.dropFirst(2).reduce(1, *)
        fanIn = tensor.shape[1] * receptive
        if tensor.shape.count == 4 {
          let deviation = (2 / Double(tensor.shape[0] * receptive)).squareRoot()
          tensor.fill { Float(deviation * random.normal()) }
        } else {
          drawUniform(tensor, fanIn, &random)
        }
      case .bias:
        drawUniform(tensor, fanIn, &random)
      case .normWeight, .runningVariance:
        tensor.fill { 1 }
      case .normBias, .runningMean:
        tensor.fill { 0 }
      case .batchCounter:
        tensor.counter[0] = 0
      }
    }
  }

  private static func drawUniform(
    _ tensor: NetworkTensor, _ fanIn: Int, _ random: inout RandomStream
  ) {
    let bound = 1 / Double(max(1, fanIn)).squareRoot()
    tensor.fill { Float((2 * random.uniform() - 1) * bound) }
  }
}
