import GraftKernels
import GraftSupport

extension Dataset {
  /// Fills a batch, channels last.
  ///
  /// - Parameters:
  ///   - images: receives count x height x width x channels.
  ///   - labels: receives `count` class numbers; nil if not wanted.
  ///   - mixed: receives what mixing makes of the labels; nil if not wanted.
  ///   - samples: `count` image numbers (`EpochOrder.batch`).
  ///   - augmentation: nil for the images as they are.
  ///   - seed, epoch: what the augmentation is drawn from; unread without it.
  ///   - threads: 0 for what OpenMP would take. The result does not depend on it.
  /// - Throws: `.invalidArgument` for a number that is no image's; `.outOfMemory`.
  public func fill(
    images: UnsafeMutablePointer<Float>, labels: UnsafeMutablePointer<Int64>?,
    mixed: MixedTargets? = nil, samples: UnsafePointer<Int64>, count: Int,
    augmentation: Augmentation? = nil, seed: UInt64 = 0, epoch: Int = 1, threads: Int = 0
  ) throws(GraftError) {
    try fill(
      images, strides: [height * width * channels, 1, width * channels, channels],
      labels: labels, mixed: mixed, samples: samples, count: count, augmentation: augmentation,
      seed: seed, epoch: epoch, threads: threads)
  }

  /// The same into an array of any layout.
  ///
  /// - Parameters:
  ///   - images: nil if not wanted.
  ///   - strides: of image, channel, row, column, in elements.
  ///   - mixed: receives the other labels and the shares where the augmentation mixes images, else
  ///     the labels themselves and 1; nil if not wanted.
  public func fill(
    _ images: UnsafeMutablePointer<Float>?, strides: [Int],
    labels: UnsafeMutablePointer<Int64>?, mixed: MixedTargets? = nil,
    samples: UnsafePointer<Int64>, count: Int,
    augmentation: Augmentation? = nil, seed: UInt64 = 0, epoch: Int = 1, threads: Int = 0
  ) throws(GraftError) {
    let valid = Int64(0)..<Int64(self.count)
    for index in 0..<count where !valid.contains(samples[index]) {
      throw GraftError(
        .invalidArgument,
        "indices[\(index)] is \(samples[index]); the data set has images 0 to \(self.count - 1)")
    }
    let mixtures = try mixtures(samples, count: count, augmentation, seed: seed, epoch: epoch)
    if let images, strides.count == 4 {
      let crops = try crops(samples, count: count, augmentation, seed: seed, epoch: epoch)
      if let mixtures {
        let size = height * width * channels
        guard let elements = product([count, size]) else {
          throw GraftError(.outOfMemory, "no memory for a batch of \(count) images")
        }
        let plain = try Buffer<Float>(count: elements, for: "a batch before it is mixed")
        show(
          samples, crops, count: count, in: plain.pointer,
          strides: [size, 1, width * channels, channels], threads: threads)
        gk_mix_batch(
          Int32(clamping: threads), plain.pointer, mixtures.pointer, Int64(count), Int64(height),
          Int64(width), Int64(channels), images, strides.map { Int64($0) })
        withExtendedLifetime((plain, mixtures)) {}
      } else {
        show(samples, crops, count: count, in: images, strides: strides, threads: threads)
      }
    }
    for index in 0..<count {
      let own = self.labels[Int(samples[index])]
      labels?[index] = own
      guard let mixed else { continue }
      mixed.others[index] =
        mixtures.map { self.labels[Int(samples[Int($0[index].partner)])] } ?? own
      mixed.shares[index] = mixtures?[index].share ?? 1
    }
  }

  /// Puts images where they are wanted, through the windows of `crops`.
  private func show(
    _ samples: UnsafePointer<Int64>, _ crops: Buffer<gk_crop>?, count: Int,
    in images: UnsafeMutablePointer<Float>, strides: [Int], threads: Int
  ) {
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

  private func crops(
    _ samples: UnsafePointer<Int64>, count: Int, _ augmentation: Augmentation?, seed: UInt64,
    epoch: Int
  ) throws(GraftError) -> Buffer<gk_crop>? {
    guard let augmentation, augmentation.changesImages else { return nil }
    let epoch = UInt64(truncatingIfNeeded: epoch)
    let windows = RandomStream.Family(seed: seed, purpose: .augmentation, epoch)
    let erasing = RandomStream.Family(seed: seed, purpose: .erasing, epoch)
    let crops = try Buffer<gk_crop>(count: count, for: "a batch's crops")
    for index in 0..<count {
      crops[index] = augmentation.crop(of: samples[index], in: windows)
      augmentation.erasing.draw(
        of: samples[index], in: erasing, height: height, width: width, into: &crops[index])
    }
    return crops
  }

  private func mixtures(
    _ samples: UnsafePointer<Int64>, count: Int, _ augmentation: Augmentation?, seed: UInt64,
    epoch: Int
  ) throws(GraftError) -> Buffer<gk_mixed>? {
    guard let mixing = augmentation?.mixing, mixing.isOn else { return nil }
    let family = RandomStream.Family(
      seed: seed, purpose: .mixing, UInt64(truncatingIfNeeded: epoch))
    let mixtures = try Buffer<gk_mixed>(count: count, for: "a batch's mixtures")
    for index in 0..<count {
      mixtures[index] = mixing.draw(of: samples[index], in: family, height: height, width: width)
      mixtures[index].partner = Int64((index + 1) % count)
    }
    return mixtures
  }
}
