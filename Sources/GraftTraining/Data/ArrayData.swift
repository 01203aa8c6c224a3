import GraftKernels
import GraftSupport

extension Dataset {
  public static let classLimit = 65536

  /// A data set of floats, copied once.
  ///
  /// - Parameters:
  ///   - images: N x C x H x W, float32, finite, any strides.
  ///   - labels: N class numbers, 0 to `classes` - 1.
  ///   - classes: 1 to 65536.
  /// - Throws: `.invalidArgument`, `.unsupported` (not float32), `.notFinite`, naming the place.
  public convenience init(images: TensorView, labels: UnsafePointer<Int64>, classes: Int)
    throws(GraftError)
  {
    guard images.type == .float32 else {
      throw GraftError(.unsupported, "\(images.name) must be float32 or bytes")
    }
    let (shape, elements) = try Dataset.checkedShape(images.shape, images.name)
    let numbers = try Dataset.checkedLabels(labels, count: shape.count, classes: classes)
    let pixels = try Buffer<Float>(count: elements, for: "\(shape.count) images")
    let bad = images.data.map {
      gk_take_floats(
        $0.assumingMemoryBound(to: Float.self), images.shape.map { Int64($0) },
        images.strides.map { Int64($0) }, pixels.pointer)
    }
    if let bad, bad >= 0 {
      let index = Int(bad)
      let (channel, pixel) = (index % shape.channels, index / shape.channels)
      let (x, row) = (pixel % shape.width, pixel / shape.width)
      let (y, image) = (row % shape.height, row / shape.height)
      throw GraftError(
        .notFinite,
        "\(images.name)[\(image), \(channel), \(y), \(x)] is \(pixels[index])")
    }
    try self.init(pixels: .floats(pixels), labels: numbers, shape: shape, classes: classes)
  }

  /// A data set of bytes, copied once.
  ///
  /// - Parameters:
  ///   - bytes: N x C x H x W.
  ///   - strides: four, in elements, >= 0.
  public convenience init(
    bytes: UnsafePointer<UInt8>, shape dimensions: [Int], strides: [Int],
    labels: UnsafePointer<Int64>, classes: Int
  ) throws(GraftError) {
    let (shape, elements) = try Dataset.checkedShape(dimensions, "images")
    var reach = 0
    for (dimension, stride) in zip(dimensions, strides) {
      guard let step = product([dimension - 1, stride]),
        case let (next, overflow) = reach.addingReportingOverflow(step), !overflow
      else {
        throw GraftError(
          .invalidArgument, "images: strides \(strides) must be >= 0 and stay in memory")
      }
      reach = next
    }
    let numbers = try Dataset.checkedLabels(labels, count: shape.count, classes: classes)
    let pixels = try Buffer<UInt8>(count: elements, for: "\(shape.count) images")
    gk_take_bytes(
      bytes, dimensions.map { Int64($0) }, strides.map { Int64($0) }, pixels.pointer)
    try self.init(pixels: .bytes(pixels), labels: numbers, shape: shape, classes: classes)
  }

  /// A data set of bytes, all 0, for the caller to write before anything else reads them.
  ///
  /// - Parameter dimensions: N, C, H, W. The bytes lie N x H x W x C.
  /// - Returns: it, and the first byte, which lives as long.
  public static func blank(
    shape dimensions: [Int], labels: UnsafePointer<Int64>, classes: Int
  ) throws(GraftError) -> (dataset: Dataset, bytes: UnsafeMutablePointer<UInt8>) {
    let (shape, elements) = try checkedShape(dimensions, "images")
    let numbers = try checkedLabels(labels, count: shape.count, classes: classes)
    let pixels = try Buffer<UInt8>(count: elements, for: "\(shape.count) images")
    let dataset = try Dataset(
      pixels: .bytes(pixels), labels: numbers, shape: shape, classes: classes)
    return (dataset, pixels.pointer)
  }

  /// The shape N x C x H x W of images.
  private static func checkedShape(_ dimensions: [Int], _ name: String) throws(GraftError)
    -> (Shape, elements: Int)
  {
    guard dimensions.count == 4 else {
      throw GraftError(
        .invalidArgument,
        "\(name) have \(dimensions.count) dimensions; there must be 4: N x C x H x W")
    }
    let shape = Shape(
      count: dimensions[0], channels: dimensions[1], height: dimensions[2], width: dimensions[3])
    guard let elements = shape.elements else {
      throw GraftError(
        .invalidArgument,
        "\(name) have shape \(dimensions); N must be at least 1, and channels, height and width "
          + "1 to \(Shape.limit)")
    }
    return (shape, elements)
  }

  private static func checkedLabels(_ labels: UnsafePointer<Int64>, count: Int, classes: Int)
    throws(GraftError) -> Buffer<Int64>
  {
    guard (1...classLimit).contains(classes) else {
      throw GraftError(
        .invalidArgument, "classes is \(classes); allowed are 1 to \(classLimit)")
    }
    let numbers = try Buffer<Int64>(count: count, for: "\(count) labels")
    for index in 0..<count {
      guard (0..<Int64(classes)).contains(labels[index]) else {
        throw GraftError(
          .invalidArgument,
          "labels[\(index)] is \(labels[index]); allowed are 0 to \(classes - 1)")
      }
      numbers[index] = labels[index]
    }
    return numbers
  }
}
