import GraftKernels
import GraftSupport

extension Dataset {
  /// Fills a batch, channels last.
  ///
  /// - Parameters:
  ///   - images: receives count x height x width x channels.
  ///   - labels: receives `count` class numbers; nil if not wanted.
  ///   - samples: `count` image numbers (`EpochOrder.batch`).
  ///   - augmentation: nil for the images as they are.
  ///   - seed, epoch: what the augmentation is drawn from; unread without it.
  ///   - threads: 0 for what OpenMP would take. The result does not depend on it.
  /// - Throws: `.invalidArgument` for a number that is no image's; `.outOfMemory`.
  public func fill(
    images: UnsafeMutablePointer<Float>, labels: UnsafeMutablePointer<Int64>?,
    samples: UnsafePointer<Int64>, count: Int, augmentation: Augmentation? = nil,
    seed: UInt64 = 0, epoch: Int = 1, threads: Int = 0
  ) throws(GraftError) {
    try fill(
      images, strides: [height * width * channels, 1, width * channels, channels],
      labels: labels, samples: samples, count: count, augmentation: augmentation, seed: seed,
      epoch: epoch, threads: threads)
  }

  /// The same into an array of any layout.
  ///
  /// - Parameters:
  ///   - images: nil if not wanted.
  ///   - strides: of image, channel, row, column, in elements.
  public func fill(
    _ images: UnsafeMutablePointer<Float>?, strides: [Int],
    labels: UnsafeMutablePointer<Int64>?, samples: UnsafePointer<Int64>, count: Int,
    augmentation: Augmentation? = nil, seed: UInt64 = 0, epoch: Int = 1, threads: Int = 0
  ) throws(GraftError) {
    let valid = Int64(0)..<Int64(self.count)
    for index in 0..<count where !valid.contains(samples[index]) {
      throw GraftError(
        .invalidArgument,
        "indices[\(index)] is \(samples[index]); the data set has images 0 to \(self.count - 1)")
    }
    if let images, strides.count == 4 {
      let crops = try crops(samples, count: count, augmentation, seed: seed, epoch: epoch)
      var from = gk_images()
      switch pixels {
      case .bytes(let bytes): from.bytes = UnsafePointer(bytes.pointer)
      case .floats(let floats): from.floats = UnsafePointer(floats.pointer)
      }
      from.height = Int64(height)
      from.width = Int64(width)
      from.channels = Int64(channels)
      from.mean = UnsafePointer(mean.pointer)
      from.deviation = UnsafePointer(deviation.pointer)
      from.table = UnsafePointer(table.pointer)
      from.padding = UnsafePointer(padding.pointer)
      gk_fill_batch(
        Int32(clamping: threads), &from, samples, crops.map { UnsafePointer($0.pointer) },
        Int64(count), images, strides.map { Int64($0) })
      withExtendedLifetime((self, crops)) {}
    }
    if let labels {
      for index in 0..<count { labels[index] = self.labels[Int(samples[index])] }
    }
  }

  private func crops(
    _ samples: UnsafePointer<Int64>, count: Int, _ augmentation: Augmentation?, seed: UInt64,
    epoch: Int
  ) throws(GraftError) -> Buffer<gk_crop>? {
    guard let augmentation, augmentation.cropPadding > 0 || augmentation.flip else { return nil }
    let family = RandomStream.Family(
      seed: seed, purpose: .augmentation, UInt64(truncatingIfNeeded: epoch))
    let crops = try Buffer<gk_crop>(count: count, for: "a batch's crops")
    for index in 0..<count { crops[index] = augmentation.crop(of: samples[index], in: family) }
    return crops
  }
}
