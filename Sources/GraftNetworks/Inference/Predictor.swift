import GraftKernels
import GraftSupport

/// A network as it is deployed: its forward pass in evaluation, with a copy of the weights in the
/// kernels' order and nothing that only training needs. Not safe for two threads at once.
public final class Predictor {
  private let program: ForwardProgram
  public let threads: Int
  private var images = 0

  /// - Parameters:
  ///   - value: what it gives; nil for the network's output.
  ///   - folds: whether a batch norm that alone follows a convolution becomes part of its weights.
  ///   - takes: whether the network's weights go over to it, layer by layer, so that no two copies
  ///     of all are ever held. The network's are zeros then; where this fails, what they were.
  ///   - threads: 0 for what OpenMP would take.
  public init(
    _ network: Network, value: Network.Output? = nil, folds: Bool = true, takes: Bool = false,
    threads: Int = 0
  ) throws(GraftError) {
    self.threads = Int(gk_threads(Int32(clamping: threads)))
    program = try network.frozen(to: value, folds: folds, takes: takes, threads: self.threads)
  }

  public var inputShape: ImageShape { program.inputShape }
  public var outputShape: ImageShape { program.outputShape }

  /// Reserves memory for a batch and gives the place, N x H x W x C, where the caller writes the
  /// images before `run`.
  public func begin(images: Int) throws(GraftError) -> UnsafeMutablePointer<Float> {
    try Network.check(images: images)
    self.images = 0
    let place = try program.reserve(images: images)
    self.images = images
    return place
  }

  /// The output, N x H x W x C, valid until the next batch.
  public func run() throws(GraftError) -> UnsafePointer<Float> {
    guard images > 0 else {
      throw GraftError(.invalidState, "a pass has to be begun before it is run")
    }
    defer { images = 0 }
    return try program.run(images: images, threads: threads)
  }
}
