/// The settings of a convolution (PyTorch's Conv2d).
public struct Convolution: Equatable, Sendable {
  public var filters: Int
  public var kernel: Extent
  public var stride: Extent
  public var padding: Extent
  public var dilation: Extent
  public var groups: Int
  public var bias: Bool

  /// A pair of numbers, for rows and for columns.
  public struct Extent: Equatable, Sendable {
    public var height: Int
    public var width: Int
    public init(_ height: Int, _ width: Int) {
      self.height = height
      self.width = width
    }
    public init(_ both: Int) { self.init(both, both) }
  }

  public init(
    filters: Int, kernel: Extent = Extent(3), stride: Extent = Extent(1),
    padding: Extent = Extent(0), dilation: Extent = Extent(1), groups: Int = 1, bias: Bool = false
  ) {
    self.filters = filters
    self.kernel = kernel
    self.stride = stride
    self.padding = padding
    self.dilation = dilation
    self.groups = groups
    self.bias = bias
  }
}

/// The settings of a pooling layer over square windows.
public struct Pooling: Equatable, Sendable {
  public enum Kind: Sendable { case maximum, average }
  public var kind: Kind
  public var kernel: Int
  public var stride: Int
  public var padding: Int
  public init(_ kind: Kind, kernel: Int, stride: Int, padding: Int = 0) {
    self.kind = kind
    self.kernel = kernel
    self.stride = stride
    self.padding = padding
  }
}

/// What a node of the graph does, with the tensors that it owns.
enum Layer {
  case input
  case convolution(Convolution, weight: NetworkTensor, bias: NetworkTensor?)
  case batchNorm(BatchNormTensors)
  /// No ceiling is infinity.
  case rectifier(slope: Float, ceiling: Float)
  case sum
  case shortcut(stride: Int, firstChannel: Int)
  case pool(Pooling)
  case globalPool
  case linear(weight: NetworkTensor, bias: NetworkTensor?)
  case concatenation
  /// The how-manieth dropout it is decides, among other things, what is dropped.
  case dropout(probability: Double, number: Int)
}

/// What belongs to a batch norm.
struct BatchNormTensors {
  let weight: NetworkTensor
  let bias: NetworkTensor
  let mean: NetworkTensor
  let variance: NetworkTensor
  let counter: NetworkTensor
  let epsilon: Double
  let momentum: Double
}

/// A layer in the graph: what it does, to which earlier nodes, and the shape that comes out.
struct Node {
  let layer: Layer
  let inputs: [Int]
  let shape: ImageShape
  /// The layer's, or what a caller has called its value.
  var name: String?
  /// Which of the network's tensors it owns.
  let tensors: Range<Int>
}
