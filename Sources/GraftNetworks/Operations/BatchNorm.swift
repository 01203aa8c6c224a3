import GraftKernels
import GraftSupport

/// A batch norm's state in a pass (Ioffe and Szegedy 2015): y = scale x + shift per channel, from
/// the batch's statistics in training and from the running ones in evaluation.
final class BatchNorm {
  let tensors: BatchNormTensors
  let channels: Int
  let scale: Buffer<Float>
  let shift: Buffer<Float>
  /// The batch's mean and 1 / sqrt(variance + epsilon), for the backward pass.
  let mean: Buffer<Float>
  let deviation: Buffer<Float>
  /// gk_gradient_view's a, b and c.
  let coefficients: Buffer<Float>
  /// Mean and variance as they are joined, in float64.
  let joined: Buffer<Double>

  init(_ tensors: BatchNormTensors) throws(GraftError) {
    self.tensors = tensors
    channels = tensors.weight.count
    scale = try Buffer(count: channels)
    shift = try Buffer(count: channels)
    mean = try Buffer(count: channels)
    deviation = try Buffer(count: channels)
    coefficients = try Buffer(count: 3 * channels)
    joined = try Buffer(count: 2 * channels)
  }

  /// Takes a batch's statistics from its tiles' partial ones, and moves the running ones: by
  /// `momentum` towards the batch's mean and unbiased variance, as PyTorch does.
  func takeStatistics(
    _ statistics: UnsafePointer<Float>, tiles: Int64, period: Int64, sizes: (Int64, Int64),
    count: Int
  ) {
    withUnsafeBytes(of: sizes) {
      gk_norm_join(
        statistics, tiles, period, $0.assumingMemoryBound(to: Int64.self).baseAddress,
        Int64(channels), joined.pointer, joined.pointer + channels)
    }
    let unbiased = Double(count) / Double(max(1, count - 1))
    let momentum = tensors.momentum
    for c in 0..<channels {
      let (batchMean, variance) = (joined[c], joined[channels + c])
      mean[c] = Float(batchMean)
      deviation[c] = Float(1 / (variance + tensors.epsilon).squareRoot())
      let running = (tensors.mean.values, tensors.variance.values)
      running.0[c] = Float((1 - momentum) * Double(running.0[c]) + momentum * batchMean)
      running.1[c] = Float((1 - momentum) * Double(running.1[c]) + momentum * variance * unbiased)
      setAffine(c, mean: Double(mean[c]), deviation: Double(deviation[c]))
    }
    tensors.counter.counter[0] &+= 1
  }

  /// Sets scale and shift from the running statistics.
  func useRunningStatistics() {
    for c in 0..<channels {
      let variance = Double(tensors.variance.values[c])
      setAffine(
        c, mean: Double(tensors.mean.values[c]),
        deviation: 1 / (variance + tensors.epsilon).squareRoot())
    }
  }

  private func setAffine(_ c: Int, mean: Double, deviation: Double) {
    let factor = Double(tensors.weight.values[c]) * deviation
    scale[c] = Float(factor)
    shift[c] = Float(Double(tensors.bias.values[c]) - mean * factor)
  }
}

/// The batch norm's step in a program. Its output shares the input's storage; nothing is written
/// but scale and shift.
final class BatchNormOperation: Operation {
  private let input: Value
  private let output: Value
  private let norm: BatchNorm
  /// Set where what computes the input leaves the statistics.
  private let statisticsComeWithInput: Bool

  init(input: Value, output: Value, norm: BatchNorm, statisticsComeWithInput: Bool) {
    self.input = input
    self.output = output
    self.norm = norm
    self.statisticsComeWithInput = statisticsComeWithInput
  }

  private func pixels(_ pass: Pass) -> Int { pass.images * input.shape.pixels }

  private func tiles(_ pass: Pass) -> Int64 {
    gk_pixel_tiles(Int64(pixels(pass)), Int64(norm.channels))
  }

  func reserve(_ pass: Pass) throws(GraftError) {
    guard pixels(pass) > 1 else {
      throw GraftError(
        .invalidArgument,
        "\(norm.tensors.weight.name): batch norm in training needs more than one value a channel; "
          + "give a batch of at least two images")
    }
    try pass.workspace.reserve(statistics: Int(tiles(pass)) * 2 * norm.channels)
  }

  func forward(_ pass: Pass) {
    if statisticsComeWithInput { return }
    let (count, tiles) = (pixels(pass), tiles(pass))
    let statistics = pass.workspace.statistics.pointer
    gk_norm_moments(
      pass.threads, input.storage.pointer, statistics, Int64(count), Int64(norm.channels))
    let whole = gk_tile_pixels(Int64(norm.channels))
    norm.takeStatistics(
      statistics, tiles: tiles, period: tiles,
      sizes: (whole, Int64(count) - (tiles - 1) * whole), count: count)
  }

  func backward(_ pass: Pass) throws(GraftError) {
    guard let (buffer, taken) = output.takeGradient(pass) else { return }
    var view = taken
    let sums = pass.workspace.statistics.pointer
    let (count, channels) = (Int64(pixels(pass)), Int64(norm.channels))
    var tiles = tiles(pass)
    if let left = pass.workspace.sums, left.norm === norm, left.gradient == UnsafePointer(view.g) {
      tiles = left.tiles
    } else {
      gk_norm_reduce(pass.threads, view, norm.mean.pointer, sums, count, channels)
    }
    pass.workspace.sums = nil
    let a = norm.coefficients.pointer
    let (b, c) = (a + norm.channels, a + 2 * norm.channels)
    gk_norm_backward(
      sums, tiles, count, channels, norm.tensors.weight.values.pointer, norm.mean.pointer,
      norm.deviation.pointer, norm.tensors.weight.gradients.pointer,
      norm.tensors.bias.gradients.pointer, a, b, c)
    guard input.needsGradient else { return pass.pool.release(buffer) }
    (view.a, view.b, view.c) = (UnsafePointer(a), UnsafePointer(b), UnsafePointer(c))
    try input.contribute(pending: buffer, view, pass)
  }
}
