import GraftKernels
import GraftSupport

/// Draws a network's initial weights: convolutions He normal over the fan out (He et al. 2015;
/// torch's kaiming_normal_ with mode="fan_out"), linear layers and biases uniform in +-1 / sqrt(fan
/// in) (torch's default), batch norm 1 and 0. Every tensor has a stream of its own, so one layer
/// more does not change the others' weights before it.
enum Initialisation {
  static func draw(_ tensors: [NetworkTensor], seed: UInt64) throws(GraftError) {
    var fanIns: [Int] = []
    for tensor in tensors {
      fanIns.append(
        tensor.kind == .weight
          ? tensor.shape.dropFirst().reduce(1, *) : fanIns.last ?? 1)
    }
    try concurrently(tensors.count, threads: Int(gk_threads(0))) { (index) throws(GraftError) in
      draw(tensors[index], fanIns[index], RandomStream(
        seed: seed, purpose: .initialisation, UInt64(index)))
    }
  }

  private static func draw(_ tensor: NetworkTensor, _ fanIn: Int, _ stream: RandomStream) {
    var random = stream
    switch tensor.kind {
    case .weight where tensor.shape.count == 4:
      let fanOut = tensor.shape[0] * tensor.shape.dropFirst(2).reduce(1, *)
      let deviation = (2 / Double(fanOut)).squareRoot()
      tensor.fill { Float(deviation * random.normal()) }
    case .weight, .bias:
      drawUniform(tensor, fanIn, &random)
    case .normWeight, .runningVariance:
      tensor.fill { 1 }
    case .normBias, .runningMean:
      tensor.fill { 0 }
    case .batchCounter:
      tensor.counter[0] = 0
    }
  }

  private static func drawUniform(
    _ tensor: NetworkTensor, _ fanIn: Int, _ random: inout RandomStream
  ) {
    let bound = 1 / Double(max(1, fanIn)).squareRoot()
    tensor.fill { Float((2 * random.uniform() - 1) * bound) }
  }
}
