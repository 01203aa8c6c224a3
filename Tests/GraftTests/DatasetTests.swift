import GraftSupport
import GraftTraining
import Testing

/// Bytes in an order that repeats late: 0, 1, ... 250, 0, ...
private func makeDataset(count: Int, channels: Int, height: Int, width: Int) throws -> Dataset {
  let bytes = (0..<count * channels * height * width).map { UInt8($0 % 251) }
  let labels = (0..<count).map { Int64($0) }
  return try Dataset(
    bytes: bytes, shape: [count, channels, height, width],
    strides: TensorView.rowMajor([count, channels, height, width]), labels: labels, classes: count)
}

@Suite struct DatasetTests {
  @Test func aBatchIsFilledChannelsLast() throws {
    let data = try makeDataset(count: 4, channels: 3, height: 2, width: 5)
    let images = try Buffer<Float>(count: 2 * 30)
    let labels = try Buffer<Int64>(count: 2)
    try data.fill(images: images.pointer, labels: labels.pointer, samples: [3, 1], count: 2)
    #expect(labels[0] == 3)
    #expect(labels[1] == 1)
    for (slot, image) in [3, 1].enumerated() {
      for y in 0..<2 {
        for x in 0..<5 {
          for c in 0..<3 {
            let stored = ((image * 3 + c) * 2 + y) * 5 + x
            let expected = Float(Double(stored % 251) / 255)
            #expect(images[((slot * 2 + y) * 5 + x) * 3 + c] == expected)
          }
        }
      }
    }
  }

  @Test(arguments: [1, 2, 3, 5])
  func theBitsDoNotDependOnThreadsOrLayout(channels: Int) throws {
    let (count, height, width) = (37, 6, 7)
    let data = try makeDataset(count: count, channels: channels, height: height, width: width)
      .normalised(
        mean: [Double](repeating: 0.3, count: channels),
        deviation: [Double](repeating: 0.7, count: channels))
    let order = try EpochOrder(count: count, seed: 8, epoch: 2)
    var augmentation = Augmentation(cropPadding: 2, flip: true)
    augmentation.erasing.probability = 0.5
    augmentation.mixing.mixup = 1
    augmentation.mixing.cutmix = 1
    let size = channels * height * width
    let planes = try Buffer<Float>(count: count * size)
    try data.fill(
      planes.pointer, strides: [size, height * width, width, 1], labels: nil,
      samples: order.indices.pointer, count: count, augmentation: augmentation, seed: 8, epoch: 2,
      threads: 1)
    for threads in [1, 2, 5] {
      let images = try Buffer<Float>(count: count * size)
      try data.fill(
        images: images.pointer, labels: nil, samples: order.indices.pointer, count: count,
        augmentation: augmentation, seed: 8, epoch: 2, threads: threads)
      for index in 0..<count * size {
        let (channel, pixel) = (index % channels, index / channels)
        let (inside, image) = (pixel % (height * width), pixel / (height * width))
        let other = planes[(image * channels + channel) * height * width + inside]
        if images[index].bitPattern != other.bitPattern {
          Issue.record("\(threads) threads: element \(index) is \(images[index]), not \(other)")
          return
        }
      }
    }
    withExtendedLifetime((data, order)) {}
  }

  @Test func anEpochIsCutIntoBatches() throws {
    let order = try EpochOrder(count: 10, seed: 1, epoch: 1)
    #expect(order.batches(of: 3) == 4)
    #expect(order.batches(of: 5) == 2)
    #expect(order.batches(of: 11) == 1)
    #expect(order.batch(3, of: 3).count == 1)
    #expect(order.batch(4, of: 3).count == 0)
    #expect(order.batch(-1, of: 3).count == 0)
    #expect(order.batch(.max, of: .max).count == 0)
    #expect(order.batch(1, of: 4).samples[0] == order.indices[4])
    withExtendedLifetime(order) {}
  }

  @Test func aNumberThatIsNoImagesIsAnError() throws {
    let data = try makeDataset(count: 4, channels: 1, height: 1, width: 1)
    let images = try Buffer<Float>(count: 2)
    for bad: Int64 in [-1, 4, .max, .min] {
      #expect(
        throws: GraftError(
          .invalidArgument, "indices[1] is \(bad); the data set has images 0 to 3")
      ) {
        try data.fill(images: images.pointer, labels: nil, samples: [0, bad], count: 2)
      }
    }
    #expect(data.label(3) == 3)
    #expect(data.label(4) == nil)
  }
}
