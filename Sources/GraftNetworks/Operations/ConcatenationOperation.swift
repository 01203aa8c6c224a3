import GraftKernels
import GraftSupport

/// Values next to each other along their channels: each is copied once, through whatever batch norm
/// and rectifier come before, and the statistics that a batch norm after it needs are taken on the
/// way.
final class ConcatenationOperation: Operation {
  private let inputs: [Value]
  private let output: Value
  /// The batch norms that read the output's storage.
  private let norms: [BatchNorm]
  private let parts: Buffer<gk_part>
  private let gradients: Buffer<gk_gradient_part>

  init(inputs: [Value], output: Value, norms: [BatchNorm]) throws(GraftError) {
    self.inputs = inputs
    self.output = output
    self.norms = norms
    parts = try Buffer(count: inputs.count, for: "a concatenation")
    gradients = try Buffer(count: inputs.count, for: "a concatenation")
  }

  private func pixels(_ pass: Pass) -> Int64 { Int64(pass.images * output.shape.pixels) }

  private var channels: Int64 { Int64(output.shape.channels) }

  func reserve(_ pass: Pass) throws(GraftError) {
    try output.storage.reserve(images: pass.images)
    guard !norms.isEmpty else { return }
    let tiles = Int(gk_pixel_tiles(pixels(pass), channels))
    try pass.workspace.reserve(statistics: tiles * 2 * output.shape.channels)
  }

  func forward(_ pass: Pass) {
    for (index, input) in inputs.enumerated() {
      parts[index] = gk_part(in: input.view, channels: Int64(input.shape.channels))
    }
    let statistics = norms.isEmpty ? nil : pass.workspace.statistics.pointer
    gk_concatenate_forward(
      pass.threads, parts.pointer, Int64(inputs.count), output.storage.pointer, statistics,
      pixels(pass), channels)
    guard let statistics else { return }
    let tiles = gk_pixel_tiles(pixels(pass), channels)
    let whole = gk_tile_pixels(channels)
    for norm in norms {
      norm.takeStatistics(
        statistics, tiles: tiles, period: tiles,
        sizes: (whole, pixels(pass) - (tiles - 1) * whole), count: Int(pixels(pass)))
    }
  }

  func backward(_ pass: Pass) throws(GraftError) {
    guard let (buffer, view) = output.takeGradient(pass) else { return }
    for (index, input) in inputs.enumerated() {
      var part = gk_gradient_part(
        to: nil, accumulate: 0, channels: Int64(input.shape.channels))
      if input.needsGradient { (part.to, part.accumulate) = try input.contribute(pass) }
      gradients[index] = part
    }
    gk_concatenate_backward(
      pass.threads, view, gradients.pointer, Int64(inputs.count), pixels(pass), channels)
    pass.pool.release(buffer)
  }
}
