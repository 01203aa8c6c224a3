import GraftKernels
import GraftSupport

/// The binary files of CIFAR-10 and CIFAR-100 (www.cs.toronto.edu/~kriz/cifar.html). A file is a
/// row of records: one label byte, or a coarse and a fine one, and an image of 3 x 32 x 32 bytes,
/// red plane first.
public enum CIFARFiles {
  public enum Split: Sendable { case train, test }

  /// One of the two data sets.
  private struct Kind {
    let name: String
    let train: [String]
    let test: [String]
    /// The number of classes of each label byte of a record; the last one counts.
    let classes: [Int]

    static let ten = Kind(
      name: "CIFAR-10", train: (1...5).map { "data_batch_\($0).bin" }, test: ["test_batch.bin"],
      classes: [10])
    static let hundred = Kind(
      name: "CIFAR-100", train: ["train.bin"], test: ["test.bin"], classes: [20, 100])
  }

  private static let side = 32
  private static let imageLength = 3 * side * side

  /// Reads a split; which of the two data sets it is is seen from the names of the files.
  ///
  /// - Throws: `.io` for a file that is missing or cannot be read; `.invalidArgument` for a
  ///   directory with files of both; `.format` for a length that is no whole number of records, or
  ///   a label out of range, naming file and record.
  public static func read(directory: String, split: Split) throws(GraftError) -> Dataset {
    let directory = absolutePath(directory)
    let kind = try kind(in: directory)
    let paths = (split == .train ? kind.train : kind.test).map { directory + "/" + $0 }
    let recordLength = kind.classes.count + imageLength
    var files: [(file: File, records: Int)] = []
    var count = 0
    for path in paths {
      let file = try File.reading(path)
      let size = try file.size()
      guard size > 0, size % recordLength == 0 else {
        throw GraftError(
          .format,
          "\(path): \(size) bytes are not a whole number of \(kind.name) records of "
            + "\(recordLength)")
      }
      files.append((file, size / recordLength))
      count += size / recordLength
    }
    guard let length = product([count, imageLength]) else {
      throw GraftError(.outOfMemory, "no memory for \(count) images of \(directory)")
    }
    let pixels = try Buffer<UInt8>(count: length, for: "\(count) images")
    let labels = try Buffer<Int64>(count: count, for: "\(count) labels")
    var first = 0
    for (file, records) in files {
      try readRecords(
        of: file, count: records, kind: kind, pixels: pixels.pointer + first * imageLength,
        labels: labels.pointer + first)
      first += records
    }
    return try Dataset(
      pixels: .bytes(pixels), labels: labels,
      shape: .init(count: count, channels: 3, height: side, width: side),
      classes: kind.classes.last ?? 0)
  }

  private static func kind(in directory: String) throws(GraftError) -> Kind {
    func exists(_ kind: Kind) -> Bool {
      (kind.train + kind.test).contains { fileKind(directory + "/" + $0, follow: true) != nil }
    }
    switch (exists(.ten), exists(.hundred)) {
    case (true, false): return .ten
    case (false, true): return .hundred
    case (true, true):
      throw GraftError(
        .invalidArgument,
        "\(directory) holds files of CIFAR-10 and of CIFAR-100; it must hold those of one")
    case (false, false):
      _ = try entries(of: directory)
      throw GraftError(
        .io,
        "\(directory) holds neither data_batch_1.bin (CIFAR-10, binary version) nor train.bin "
          + "(CIFAR-100)")
    }
  }

  /// Reads records in pieces that fit the processor's caches.
  private static func readRecords(
    of file: File, count: Int, kind: Kind, pixels: UnsafeMutablePointer<UInt8>,
    labels: UnsafeMutablePointer<Int64>
  ) throws(GraftError) {
    let labelBytes = kind.classes.count
    let length = labelBytes + imageLength
    let plane = side * side
    let piece = min(count, 64)
    let records = try Buffer<UInt8>(count: piece * length, for: file.path)
    let strides = [length, plane, side, 1].map { Int64($0) }
    var first = 0
    while first < count {
      let taken = min(piece, count - first)
      guard try file.read(into: records.pointer, count: taken * length) == taken * length else {
        throw GraftError(.format, "\(file.path): shorter than it was a moment ago")
      }
      for record in 0..<taken {
        for (index, classes) in kind.classes.enumerated() {
          let label = Int(records[record * length + index])
          guard label < classes else {
            throw GraftError(
              .format,
              "\(file.path): record \(first + record) has label \(label); \(kind.name) has 0 to "
                + "\(classes - 1)")
          }
          labels[first + record] = Int64(label)
        }
      }
      gk_take_bytes(
        records.pointer + labelBytes, [taken, 3, side, side].map { Int64($0) }, strides,
        pixels + first * imageLength)
      first += taken
    }
  }
}
