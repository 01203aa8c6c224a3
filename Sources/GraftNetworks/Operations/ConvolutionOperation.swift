import GraftKernels
import GraftSupport

/// A convolution. It reads its input through whatever batch norm and rectifier come before, and
/// leaves the statistics that a batch norm after it needs.
final class ConvolutionOperation: Operation {
  private let settings: Convolution
  private let weight: NetworkTensor
  private let bias: NetworkTensor?
  private let input: Value
  private let output: Value
  /// The batch norms that read the output's storage.
  private let norms: [BatchNorm]
  private let kernel: ConvolutionKernel
  /// Whether all who read the output can read it in bfloat16, and may: a batch norm comes next.
  private let mayHalve: Bool

  init(
    settings: Convolution, weight: NetworkTensor, bias: NetworkTensor?, input: Value,
    output: Value, norms: [BatchNorm], mayHalve: Bool
  ) {
    self.settings = settings
    self.weight = weight
    self.bias = bias
    self.input = input
    self.output = output
    self.norms = norms
    self.mayHalve = mayHalve
    kernel = ConvolutionKernel(
      ConvolutionOperation.shape(settings, input.shape, output.shape, images: 1))
  }

  static func shape(
    _ settings: Convolution, _ input: ImageShape, _ output: ImageShape, images: Int,
    precision: Precision = .float32
  ) -> gk_convolution {
    gk_convolution(
      n: Int64(images), height: Int64(input.height), width: Int64(input.width),
      channels: Int64(input.channels), out_height: Int64(output.height),
      out_width: Int64(output.width), filters: Int64(output.channels),
      kernel_height: Int64(settings.kernel.height), kernel_width: Int64(settings.kernel.width),
      stride_height: Int64(settings.stride.height), stride_width: Int64(settings.stride.width),
      padding_height: Int64(settings.padding.height), padding_width: Int64(settings.padding.width),
      dilation_height: Int64(settings.dilation.height),
      dilation_width: Int64(settings.dilation.width), groups: Int64(settings.groups),
      bfloat16: precision == .bfloat16 ? 1 : 0, halves: 0)
  }

  private func shape(_ pass: Pass) -> gk_convolution {
    var shape = ConvolutionOperation.shape(
      settings, input.shape, output.shape, images: pass.images, precision: pass.precision)
    shape.halves = output.storage.isHalf ? 1 : 0
    return shape
  }

  func reserve(_ pass: Pass) throws(GraftError) {
    var shape = ConvolutionOperation.shape(
      settings, input.shape, output.shape, images: pass.images, precision: pass.precision)
    try output.storage.reserve(
      images: pass.images,
      isHalf: mayHalve && pass.precision == .bfloat16 && kernel.canHalve(&shape))
    shape = self.shape(pass)
    let scratch = product([Int(pass.threads), kernel.scratchSize(&shape)])
    let statistics = product([Int(kernel.tiles(&shape)), 2, output.shape.channels])
    let sums = product([Int(kernel.sumTiles(&shape)), 2, input.shape.channels])
    guard let scratch, let statistics, let sums else {
      throw GraftError(.outOfMemory, "\(weight.name): the work on this batch is too large")
    }
    try pass.workspace.reserve(
      scratch: scratch,
      statistics: max(norms.isEmpty ? 0 : statistics, input.norm == nil ? 0 : sums),
      partial: kernel.partialSize(&shape),
      weights: max(kernel.packedSize(&shape), kernel.packedBackwardSize(&shape)))
  }

  func forward(_ pass: Pass) {
    var shape = shape(pass)
    let packed = pass.workspace.weights.pointer
    kernel.pack(&shape, threads: pass.threads, weight.values.pointer, to: packed)
    let statistics = norms.isEmpty ? nil : pass.workspace.statistics.pointer
    kernel.forward(
      &shape, pass.threads, input.view, packed, bias?.values.pointer,
      output.storage.pointer, statistics, pass.workspace.scratch.pointer)
    guard let statistics else { return }
    let tiles = kernel.tiles(&shape)
    let (period, sizes) = kernel.tilePixels(&shape)
    for norm in norms {
      norm.takeStatistics(
        statistics, tiles: tiles, period: period, sizes: sizes,
        count: pass.images * output.shape.pixels)
    }
  }

  func backward(_ pass: Pass) throws(GraftError) {
    guard let (buffer, view) = output.takeGradient(pass) else { return }
    var shape = shape(pass)
    let packed = pass.workspace.weights.pointer
    kernel.packBackward(&shape, threads: pass.threads, weight.values.pointer, to: packed)
    var to: UnsafeMutablePointer<Float>?
    var accumulate: Int32 = 0
    var sums = gk_gradient_sums(mean: nil, sums: nil)
    pass.workspace.sums = nil
    if input.needsGradient {
      let room = try input.contribute(pass)
      (to, accumulate) = (room.to, room.accumulate)
      let tiles = kernel.sumTiles(&shape)
      if let norm = input.norm, accumulate == 0, tiles > 0 {
        sums.mean = UnsafePointer(norm.mean.pointer)
        sums.sums = pass.workspace.statistics.pointer
        pass.workspace.sums = Workspace.Sums(norm: norm, gradient: room.to, tiles: tiles)
      }
    }
    kernel.backward(
      &shape, pass.threads, input.view, view, packed, to, accumulate, sums,
      weight.gradients.pointer, bias?.gradients.pointer, pass.workspace.partial.pointer,
      pass.workspace.scratch.pointer)
    pass.pool.release(buffer)
  }
}
