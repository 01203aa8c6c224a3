import GraftSupport

/// IDX files (yann.lecun.com/exdb/mnist): two zero bytes, the type of the elements, the number of
/// dimensions, each dimension as four bytes with the highest first, and the elements, last
/// dimension fastest. Plain or compressed with gzip.
public enum IDXFiles {
  /// Reads images (N x H x W or N x H x W x C) and labels (N), both unsigned bytes. The number of
  /// classes is the highest label + 1.
  ///
  /// - Throws: `.io`; `.format`, naming the file and what is wrong in it; `.unsupported` for
  ///   elements of another type; `.shapeMismatch` where the two counts differ.
  public static func read(images imagesPath: String, labels labelsPath: String)
    throws(GraftError) -> Dataset
  {
    let images = try IDXReader(imagesPath, ranks: 3...4, kind: "images")
    let labels = try IDXReader(labelsPath, ranks: 1...1, kind: "labels")
    let dimensions = images.shape
    guard dimensions[0] == labels.shape[0] else {
      throw GraftError(
        .shapeMismatch,
        "\(imagesPath) has \(dimensions[0]) images and \(labelsPath) has \(labels.shape[0]) labels")
    }
    let shape = Dataset.Shape(
      count: dimensions[0], channels: dimensions.count == 4 ? dimensions[3] : 1,
      height: dimensions[1], width: dimensions[2])
    guard let elements = shape.elements else {
      throw GraftError(
        .format,
        "\(imagesPath): shape \(dimensions); there must be an image, and every dimension of it is "
          + "1 to \(Dataset.Shape.limit)")
    }
    let pixels = try Buffer<UInt8>(count: elements, for: "the images of \(imagesPath)")
    try images.readAll(into: pixels)
    let bytes = try Buffer<UInt8>(count: shape.count, for: "the labels of \(labelsPath)")
    try labels.readAll(into: bytes)
    let numbers = try Buffer<Int64>(count: shape.count, for: "the labels of \(labelsPath)")
    var highest: UInt8 = 0
    for index in 0..<shape.count {
      numbers[index] = Int64(bytes[index])
      highest = max(highest, bytes[index])
    }
    return try Dataset(
      pixels: .bytes(pixels), labels: numbers, shape: shape, classes: Int(highest) + 1)
  }
}

/// One IDX file whose header has been read and checked against the file's length: nothing is
/// allocated for a size that the file could not have.
private struct IDXReader {
  let shape: [Int]
  private let reader: GzipReader
  private let elements: Int

  init(_ path: String, ranks: ClosedRange<Int>, kind: String) throws(GraftError) {
    reader = try GzipReader(path)
    let start = try Buffer<UInt8>(count: 4)
    try reader.read(into: start.pointer, count: 4)
    let (type, rank) = (start[2], Int(start[3]))
    guard start[0] == 0, start[1] == 0, (0x08...0x0E).contains(type) else {
      throw GraftError(.format, "\(path): not an IDX file: it begins with other than 0, 0, a type")
    }
    guard type == 0x08 else {
      throw GraftError(
        .unsupported, "\(path): elements of type \(type); only unsigned bytes (8) are read")
    }
    guard ranks.contains(rank) else {
      let allowed = ranks.map(String.init).joined(separator: " or ")
      throw GraftError(.format, "\(path): \(rank) dimensions; \(kind) have \(allowed)")
    }
    let words = try Buffer<UInt32>(count: rank)
    try reader.read(into: words.pointer, count: 4 * rank)
    let shape = (0..<rank).map { Int(UInt32(bigEndian: words[$0])) }
    self.shape = shape
    let header = 4 + 4 * rank
    let longest = reader.isCompressed
      ? product([reader.size, GzipReader.expansionLimit]) ?? .max : reader.size - header
    guard let elements = product(shape), elements <= longest else {
      throw GraftError(
        .format, "\(path): shape \(shape) in a file of \(reader.size) bytes: corrupt or truncated")
    }
    self.elements = elements
  }

  func readAll(into buffer: Buffer<UInt8>) throws(GraftError) {
    guard buffer.count == elements else {
      throw GraftError(.internal, "\(reader.path): \(elements) elements into \(buffer.count)")
    }
    try reader.read(into: buffer.pointer, count: elements)
    try reader.finish()
  }
}
