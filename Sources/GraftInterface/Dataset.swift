import CGraft
import GraftSupport
import GraftTraining

@implementation @_cdecl("graft_dataset_cifar")
public func graft_dataset_cifar(
  _ directory: UnsafePointer<CChar>?, _ split: graft_split,
  _ dataset: UnsafeMutablePointer<OpaquePointer?>?
) -> graft_status {
  status { () throws(GraftError) in
    let directory = try text(directory, "directory")
    let dataset = try required(dataset, "dataset")
    let isTest = try integer(split.rawValue, "split", in: 0...1) == 1
    dataset.pointee = try makeHandle(
      try CIFARFiles.read(directory: directory, split: isTest ? .test : .train))
  }
}

@implementation @_cdecl("graft_dataset_idx")
public func graft_dataset_idx(
  _ images_path: UnsafePointer<CChar>?, _ labels_path: UnsafePointer<CChar>?,
  _ dataset: UnsafeMutablePointer<OpaquePointer?>?
) -> graft_status {
  status { () throws(GraftError) in
    let images = try text(images_path, "images_path")
    let labels = try text(labels_path, "labels_path")
    let dataset = try required(dataset, "dataset")
    dataset.pointee = try makeHandle(try IDXFiles.read(images: images, labels: labels))
  }
}

@implementation @_cdecl("graft_dataset_arrays")
public func graft_dataset_arrays(
  _ images: UnsafePointer<graft_tensor>?, _ labels: UnsafePointer<Int64>?, _ classes: Int64,
  _ dataset: UnsafeMutablePointer<OpaquePointer?>?
) -> graft_status {
  status { () throws(GraftError) in
    let images = try tensor(images, "images")
    let labels = try required(labels, "labels")
    let dataset = try required(dataset, "dataset")
    let classes = try integer(classes, "classes", in: 1...Dataset.classLimit)
    dataset.pointee = try makeHandle(
      try Dataset(images: images, labels: labels, classes: classes))
  }
}

@implementation @_cdecl("graft_dataset_bytes")
public func graft_dataset_bytes(
  _ images: UnsafePointer<UInt8>?, _ shape: UnsafePointer<Int64>?, _ strides: UnsafePointer<Int64>?,
  _ labels: UnsafePointer<Int64>?, _ classes: Int64,
  _ dataset: UnsafeMutablePointer<OpaquePointer?>?
) -> graft_status {
  status { () throws(GraftError) in
    let images = try required(images, "images")
    let dimensions = try required(shape, "shape")
    let labels = try required(labels, "labels")
    let dataset = try required(dataset, "dataset")
    let classes = try integer(classes, "classes", in: 1...Dataset.classLimit)
    let shape = (0..<4).map { Int(dimensions[$0]) }
    let steps = strides.map { strides in (0..<4).map { Int(strides[$0]) } }
    dataset.pointee = try makeHandle(
      try Dataset(
        bytes: images, shape: shape, strides: steps ?? TensorView.rowMajor(shape), labels: labels,
        classes: classes))
  }
}

@implementation @_cdecl("graft_dataset_blank")
public func graft_dataset_blank(
  _ shape: UnsafePointer<Int64>?, _ labels: UnsafePointer<Int64>?, _ classes: Int64,
  _ pixels: UnsafeMutablePointer<UnsafeMutablePointer<UInt8>?>?,
  _ dataset: UnsafeMutablePointer<OpaquePointer?>?
) -> graft_status {
  status { () throws(GraftError) in
    let dimensions = try required(shape, "shape")
    let labels = try required(labels, "labels")
    let pixels = try required(pixels, "pixels")
    let dataset = try required(dataset, "dataset")
    let classes = try integer(classes, "classes", in: 1...Dataset.classLimit)
    let shape = (0..<4).map { Int(dimensions[$0]) }
    let blank = try Dataset.blank(shape: shape, labels: labels, classes: classes)
    dataset.pointee = try makeHandle(blank.dataset)
    pixels.pointee = blank.bytes
  }
}

@implementation @_cdecl("graft_dataset_destroy")
public func graft_dataset_destroy(_ dataset: OpaquePointer?) {
  destroyHandle(dataset, Dataset.self)
}

@implementation @_cdecl("graft_dataset_get_info")
public func graft_dataset_get_info(
  _ dataset: OpaquePointer?, _ info: UnsafeMutablePointer<graft_dataset_info>?
) -> graft_status {
  status { () throws(GraftError) in
    let dataset = try object(dataset, Dataset.self, "dataset")
    try write(
      graft_dataset_info(
        struct_size: MemoryLayout<graft_dataset_info>.size, count: Int64(dataset.count),
        channels: Int64(dataset.channels), height: Int64(dataset.height),
        width: Int64(dataset.width), classes: Int64(dataset.classes)),
      to: info, name: "info")
  }
}

@implementation @_cdecl("graft_dataset_statistics")
public func graft_dataset_statistics(
  _ dataset: OpaquePointer?, _ mean: UnsafeMutablePointer<Double>?,
  _ deviation: UnsafeMutablePointer<Double>?, _ count: Int
) -> graft_status {
  status { () throws(GraftError) in
    let dataset = try object(dataset, Dataset.self, "dataset")
    let mean = try required(mean, "mean")
    let deviation = try required(deviation, "deviation")
    try checkChannels(count, dataset)
    let statistics = dataset.statistics()
    for channel in 0..<dataset.channels {
      mean[channel] = statistics.mean[channel]
      deviation[channel] = statistics.deviation[channel]
    }
  }
}

@implementation @_cdecl("graft_dataset_normalise")
public func graft_dataset_normalise(
  _ dataset: OpaquePointer?, _ mean: UnsafePointer<Double>?, _ deviation: UnsafePointer<Double>?,
  _ count: Int, _ normalised: UnsafeMutablePointer<OpaquePointer?>?
) -> graft_status {
  status { () throws(GraftError) in
    let dataset = try object(dataset, Dataset.self, "dataset")
    let mean = try required(mean, "mean")
    let deviation = try required(deviation, "deviation")
    let normalised = try required(normalised, "normalised")
    try checkChannels(count, dataset)
    normalised.pointee = try makeHandle(
      try dataset.normalised(
        mean: (0..<count).map { mean[$0] }, deviation: (0..<count).map { deviation[$0] }))
  }
}

@implementation @_cdecl("graft_dataset_read")
public func graft_dataset_read(
  _ dataset: OpaquePointer?, _ indices: UnsafePointer<Int64>?, _ count: Int,
  _ images: UnsafePointer<graft_tensor>?, _ labels: UnsafeMutablePointer<Int64>?
) -> graft_status {
  status { () throws(GraftError) in
    let dataset = try object(dataset, Dataset.self, "dataset")
    let count = try size(count, "count", in: 0...1 << 40)
    if count == 0 { return }
    let indices = try required(indices, "indices")
    let target = try images.map { (images) throws(GraftError) in
      try imageTarget(images, dataset, count: count)
    }
    try dataset.fill(
      target?.data?.assumingMemoryBound(to: Float.self), strides: target?.strides ?? [],
      labels: labels, samples: indices, count: count)
  }
}

@implementation @_cdecl("graft_dataset_batch")
public func graft_dataset_batch(
  _ dataset: OpaquePointer?, _ seed: UInt64, _ epoch: Int64, _ batch: Int64, _ batch_size: Int64,
  _ crop_padding: Int64, _ flip: Int32, _ images: UnsafePointer<graft_tensor>?,
  _ labels: UnsafeMutablePointer<Int64>?, _ count: UnsafeMutablePointer<Int>?
) -> graft_status {
  status { () throws(GraftError) in
    let dataset = try object(dataset, Dataset.self, "dataset")
    let padding = try integer(crop_padding, "crop_padding", in: 0...Augmentation.paddingLimit)
    let augmentation = Augmentation(cropPadding: padding, flip: try flag(flip, "flip"))
    try fill(
      images, labels, nil, count, from: dataset, augmentation, seed: seed, epoch: epoch,
      batch: batch, size: batch_size)
  }
}

@implementation @_cdecl("graft_dataset_augmented_batch")
public func graft_dataset_augmented_batch(
  _ dataset: OpaquePointer?, _ augmentation: UnsafePointer<graft_augmentation>?, _ seed: UInt64,
  _ epoch: Int64, _ batch: Int64, _ batch_size: Int64, _ images: UnsafePointer<graft_tensor>?,
  _ labels: UnsafeMutablePointer<Int64>?, _ others: UnsafeMutablePointer<Int64>?,
  _ shares: UnsafeMutablePointer<Double>?, _ count: UnsafeMutablePointer<Int>?
) -> graft_status {
  status { () throws(GraftError) in
    let dataset = try object(dataset, Dataset.self, "dataset")
    guard (others == nil) == (shares == nil) else {
      throw GraftError(
        .invalidArgument, "one of others and shares is NULL; both must be, or neither")
    }
    var mixed: MixedTargets?
    if let others, let shares { mixed = MixedTargets(others: others, shares: shares) }
    try fill(
      images, labels, mixed, count, from: dataset, try imageAugmentation(augmentation),
      seed: seed, epoch: epoch, batch: batch, size: batch_size)
  }
}

/// Writes a batch of an epoch where a caller wants it.
private func fill(
  _ images: UnsafePointer<graft_tensor>?, _ labels: UnsafeMutablePointer<Int64>?,
  _ mixed: MixedTargets?, _ count: UnsafeMutablePointer<Int>?, from dataset: Dataset,
  _ augmentation: Augmentation, seed: UInt64, epoch: Int64, batch: Int64, size: Int64
) throws(GraftError) {
  let count = try required(count, "count")
  let epoch = try integer(epoch, "epoch", in: 1...Int.max)
  let batch = try integer(batch, "batch", in: 0...Int.max)
  let size = try integer(size, "batch_size", in: 1...65536)
  let order = try EpochOrder(count: dataset.count, seed: seed, epoch: epoch)
  let (samples, taken) = order.batch(batch, of: size)
  let target = try images.map { (images) throws(GraftError) in
    try imageTarget(images, dataset, count: taken)
  }
  try dataset.fill(
    target?.data?.assumingMemoryBound(to: Float.self), strides: target?.strides ?? [],
    labels: labels, mixed: mixed, samples: samples, count: taken, augmentation: augmentation,
    seed: seed, epoch: epoch)
  withExtendedLifetime(order) {}
  count.pointee = taken
}

private func checkChannels(_ count: Int, _ dataset: Dataset) throws(GraftError) {
  guard count == dataset.channels else {
    throw GraftError(
      .shapeMismatch,
      "count is \(UInt(bitPattern: count)); the data set has \(dataset.channels) channels")
  }
}

/// Where at least `count` images of a data set are to be written.
private func imageTarget(_ pointer: UnsafePointer<graft_tensor>, _ dataset: Dataset, count: Int)
  throws(GraftError) -> TensorView
{
  let images = try tensor(pointer, "images")
  guard images.type == .float32 else {
    throw GraftError(.unsupported, "\(images.name) must be float32")
  }
  let image = [dataset.channels, dataset.height, dataset.width]
  guard images.shape.count == 4, Array(images.shape.dropFirst()) == image, images.shape[0] >= count
  else {
    throw GraftError(
      .shapeMismatch,
      "\(images.name) have shape \(images.shape); needed is \([count] + image), the first at least")
  }
  try images.checkWritable()
  return images
}
