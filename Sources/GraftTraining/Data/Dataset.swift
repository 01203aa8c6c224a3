import GraftKernels
import GraftSupport

/// Labelled images, immutable once made: any number of threads may use one.
///
/// They are stored N x height x width x channels, as bytes (whose value is byte / 255) or as
/// floats, and shown as (value - mean) / deviation of their channel; at first mean 0 and deviation
/// 1. Data sets that show the same images differently share the storage.
public final class Dataset: @unchecked Sendable {
  public let count: Int
  public let channels: Int
  public let height: Int
  public let width: Int
  public let classes: Int

  let pixels: Pixels
  let labels: Buffer<Int64>
  /// Per channel.
  let mean: Buffer<Double>
  let deviation: Buffer<Double>
  /// What each byte is shown as, channels x 256; empty for floats.
  let table: Buffer<Float>
  /// What a stored 0 is shown as, per channel.
  let padding: Buffer<Float>

  /// Stored images, N x height x width x channels.
  enum Pixels {
    case bytes(Buffer<UInt8>)
    case floats(Buffer<Float>)
  }

  /// The sizes of all images together.
  struct Shape {
    let count: Int
    let channels: Int
    let height: Int
    let width: Int

    /// The greatest number of channels, rows, columns.
    static let limit = 32768

    /// Elements in all; nil where that overflows or a dimension is not allowed.
    var elements: Int? {
      let isAllowed = [channels, height, width].allSatisfy { (1...Shape.limit).contains($0) }
      return isAllowed && count > 0 ? product([count, channels, height, width]) : nil
    }
  }

  /// - Parameter labels: each from 0 to `classes` - 1; checked by the callers, who say it
  ///   differently.
  init(
    pixels: Pixels, labels: Buffer<Int64>, shape: Shape, classes: Int,
    mean: Buffer<Double>, deviation: Buffer<Double>
  ) throws(GraftError) {
    count = shape.count
    channels = shape.channels
    height = shape.height
    width = shape.width
    self.classes = classes
    self.pixels = pixels
    self.labels = labels
    self.mean = mean
    self.deviation = deviation
    padding = try Buffer(count: shape.channels, for: "a data set")
    for channel in 0..<shape.channels {
      padding[channel] = Float((0 - mean[channel]) / deviation[channel])
    }
    switch pixels {
    case .floats: table = try Buffer(count: 0)
    case .bytes:
      table = try Buffer(count: shape.channels * 256, for: "a data set")
      for channel in 0..<shape.channels {
        for byte in 0..<256 {
          table[channel * 256 + byte] = Float(
            (Double(byte) / 255 - mean[channel]) / deviation[channel])
        }
      }
    }
  }

  /// Images shown as they are.
  convenience init(pixels: Pixels, labels: Buffer<Int64>, shape: Shape, classes: Int)
    throws(GraftError)
  {
    let deviation = try Buffer<Double>(count: shape.channels, for: "a data set")
    for channel in 0..<shape.channels { deviation[channel] = 1 }
    try self.init(
      pixels: pixels, labels: labels, shape: shape, classes: classes,
      mean: try Buffer(count: shape.channels, for: "a data set"), deviation: deviation)
  }

  /// The label of an image, or nil where there is no such image.
  public func label(_ index: Int) -> Int? {
    (0..<count).contains(index) ? Int(labels[index]) : nil
  }
}
