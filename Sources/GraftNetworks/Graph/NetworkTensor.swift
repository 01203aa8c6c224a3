import GraftSupport

/// A named tensor of a network: a parameter that training changes, or a buffer (running
/// statistics). Names, shapes and the order of elements are those of PyTorch's state_dict.
public final class NetworkTensor {
  /// What a tensor is for.
  public enum Kind: Sendable {
    case weight, bias
    case normWeight, normBias
    case runningMean, runningVariance
    case batchCounter
  }

  public let name: String
  public let kind: Kind
  public let shape: [Int]
  public let count: Int
  /// float32 numbers; empty for the counter.
  let values: Buffer<Float>
  /// The one number of a `batchCounter`.
  let counter: Buffer<Int64>
  /// The gradient, for parameters; empty for buffers.
  let gradients: Buffer<Float>

  private var text: Buffer<CChar>?
  private var dimensions: Buffer<Int64>?

  /// Whether training changes it by its gradient.
  public var isParameter: Bool {
    switch kind {
    case .weight, .bias, .normWeight, .normBias: true
    case .runningMean, .runningVariance, .batchCounter: false
    }
  }

  init(name: String, kind: Kind, shape: [Int]) throws(GraftError) {
    guard let count = product(shape), count <= NetworkTensor.largestCount else {
      throw GraftError(
        .invalidArgument,
        "\(name): shape \(shape) has more than \(NetworkTensor.largestCount) elements")
    }
    self.name = name
    self.kind = kind
    self.shape = shape
    self.count = count
    let isCounter = kind == .batchCounter
    values = try Buffer(count: isCounter ? 0 : count, for: name)
    counter = try Buffer(count: isCounter ? 1 : 0, for: name)
    let isParameter = [.weight, .bias, .normWeight, .normBias].contains(kind)
    gradients = try Buffer(count: isParameter ? count : 0, for: "the gradient of \(name)")
    if kind == .normWeight || kind == .runningVariance { fill { 1 } }
  }

  /// The most elements that one tensor may have.
  static let largestCount = 1 << 30

  func fill(_ number: () -> Float) {
    for index in 0..<values.count { values[index] = number() }
  }

  /// The tensor in place. It is valid while this object lives.
  public var view: TensorView {
    get throws(GraftError) {
      kind == .batchCounter
        ? try TensorView(name: name, data: counter.pointer, type: .int64, shape: shape)
        : try TensorView(name: name, data: values.pointer, type: .float32, shape: shape)
    }
  }

  /// Its gradient in place; nil for a buffer.
  public var gradientView: TensorView? {
    get throws(GraftError) {
      guard isParameter else { return nil }
      return try TensorView(name: name, data: gradients.pointer, type: .float32, shape: shape)
    }
  }

  /// The parameter's numbers and gradient, for an optimiser; nil for a buffer.
  public var parameter: (values: UnsafeMutablePointer<Float>, gradient: UnsafePointer<Float>)? {
    isParameter ? (values.pointer, UnsafePointer(gradients.pointer)) : nil
  }

  /// Name and shape as C sees them; they live as long as this object.
  public func description() throws(GraftError) -> (
    name: UnsafePointer<CChar>, shape: UnsafePointer<Int64>
  ) {
    if let text, let dimensions {
      return (UnsafePointer(text.pointer), UnsafePointer(dimensions.pointer))
    }
    let bytes = Array(name.utf8CString)
    let text = try Buffer<CChar>(count: bytes.count, for: name)
    for (index, byte) in bytes.enumerated() { text[index] = byte }
    let dimensions = try Buffer<Int64>(count: shape.count, for: name)
    for (index, dimension) in shape.enumerated() { dimensions[index] = Int64(dimension) }
    (self.text, self.dimensions) = (text, dimensions)
    return (UnsafePointer(text.pointer), UnsafePointer(dimensions.pointer))
  }

  /// Makes all of it zeros, the gradient too, that take no memory until they are written.
  func discard() {
    values.discard()
    counter.discard()
    gradients.discard()
  }

  func copy(from other: NetworkTensor) {
    values.pointer.update(from: other.values.pointer, count: values.count)
    counter.pointer.update(from: other.counter.pointer, count: counter.count)
  }
}
