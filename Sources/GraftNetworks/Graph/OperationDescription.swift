import GraftSupport

/// What an operation of a network does, told without pointers to the network's insides, so that the
/// network can be written down in another format. Operation i puts out value i.
public struct OperationDescription: Sendable {
  /// The numbers are those of `graft_operation_kind`.
  public enum Kind: UInt32, Sendable {
    case input = 0
    case convolution = 1
    case batchNorm = 2
    case rectifier = 3
    case sum = 4
    case shortcut = 5
    case pool = 6
    case globalPool = 7
    case linear = 8
    case concatenation = 9
    case dropout = 10
  }

  public let kind: Kind
  /// The layer's name or the value's label.
  public let name: String?
  /// The values that it reads.
  public let inputs: [Network.Output]
  /// What it puts out for one image.
  public let shape: ImageShape
  /// Which of the network's tensors it owns.
  public let tensors: Range<Int>
  public internal(set) var convolution: Convolution?
  public internal(set) var pooling: Pooling?
  /// A shortcut's stride and the place of its first input channel.
  public internal(set) var shortcut: (stride: Int, firstChannel: Int)?
  public internal(set) var norm: (epsilon: Double, momentum: Double)?
  public internal(set) var rectifier: (negativeSlope: Double, ceiling: Double)?

  /// The share of numbers that a dropout sets to zero.
  public internal(set) var probability: Double?

  init(_ node: Node) {
    (name, shape, tensors) = (node.name, node.shape, node.tensors)
    inputs = node.inputs.map { Network.Output(index: $0) }
    switch node.layer {
    case .input: kind = .input
    case .convolution(let settings, _, _):
      kind = .convolution
      convolution = settings
    case .batchNorm(let norm):
      kind = .batchNorm
      self.norm = (norm.epsilon, norm.momentum)
    case .rectifier(let slope, let ceiling):
      kind = .rectifier
      rectifier = (Double(slope), Double(ceiling))
    case .sum: kind = .sum
    case .shortcut(let stride, let firstChannel):
      kind = .shortcut
      shortcut = (stride, firstChannel)
    case .pool(let pooling):
      kind = .pool
      self.pooling = pooling
    case .globalPool: kind = .globalPool
    case .linear: kind = .linear
    case .concatenation: kind = .concatenation
    case .dropout(let probability, _):
      kind = .dropout
      self.probability = probability
    }
  }
}
