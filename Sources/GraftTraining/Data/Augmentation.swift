import GraftKernels
import GraftSupport

/// What is done to images at random in training: a window of the image's size somewhere on the
/// image with `cropPadding` pixels of zeros around it, then a mirror image in half of the cases,
/// then a part erased, then a mixture of two.
///
/// The zeros of the padding are those of the stored image, before normalisation, as in the usual
/// pipeline (crop, flip, to float, normalise): a pixel of it is shown as (0 - mean) / deviation.
/// Each part draws from a stream of its own, so that one does not change the others.
public struct Augmentation: Equatable, Sendable {
  /// Pixels, 0 for no crop.
  public var cropPadding: Int
  /// Whether half of the images are mirrored left to right.
  public var flip: Bool
  public var erasing = RandomErasing()
  public var mixing = Mixing()

  public static let paddingLimit = 4096

  /// The paper's: a crop with 4 pixels of padding, a flip.
  public init(cropPadding: Int = 4, flip: Bool = true) {
    self.cropPadding = cropPadding
    self.flip = flip
  }

  /// - Throws: `.invalidArgument` for what is out of its range.
  public func check() throws(GraftError) {
    guard (0...Augmentation.paddingLimit).contains(cropPadding) else {
      throw GraftError(
        .invalidArgument,
        "crop_padding is \(cropPadding); allowed are 0 to \(Augmentation.paddingLimit)")
    }
    try erasing.check()
    try mixing.check()
  }

  /// Whether it changes single images.
  var changesImages: Bool { cropPadding > 0 || flip || erasing.probability > 0 }

  /// The window of image `index`. It depends on seed, epoch and image, not on the batch; whether it
  /// is mirrored does not depend on the padding.
  func crop(of index: Int64, in epoch: RandomStream.Family) -> gk_crop {
    var random = RandomStream(family: epoch, UInt64(bitPattern: index))
    let limit = UInt32(2 * cropPadding + 1)
    let isMirrored = random.next() >> 31 == 1
    var crop = gk_crop()
    crop.top = Int32(random.below(limit)) - Int32(cropPadding)
    crop.left = Int32(random.below(limit)) - Int32(cropPadding)
    crop.flip = flip && isMirrored ? 1 : 0
    return crop
  }
}
