import GraftKernels
import GraftSupport

/// What is done to images at random in training: a window of the image's size somewhere on the
/// image with `cropPadding` pixels of zeros around it, then a mirror image in half of the cases.
///
/// The zeros are those of the stored image, before normalisation, as in the usual pipeline
/// (crop, flip, to float, normalise): a pixel of the padding is shown as (0 - mean) / deviation.
public struct Augmentation: Equatable, Sendable {
  /// Pixels, 0 for no crop.
  public let cropPadding: Int
  /// Whether half of the images are mirrored left to right.
  public let flip: Bool

  public static let paddingLimit = 4096

  /// - Throws: `.invalidArgument` for a padding that is negative or over 4096.
  public init(cropPadding: Int, flip: Bool) throws(GraftError) {
    guard (0...Augmentation.paddingLimit).contains(cropPadding) else {
      throw GraftError(
        .invalidArgument,
        "crop_padding is \(cropPadding); allowed are 0 to \(Augmentation.paddingLimit)")
    }
    self.cropPadding = cropPadding
    self.flip = flip
  }

  /// The window of image `index`. It depends on seed, epoch and image, not on the batch; whether it
  /// is mirrored does not depend on the padding.
  func crop(of index: Int64, in epoch: RandomStream.Family) -> gk_crop {
    var random = RandomStream(family: epoch, UInt64(bitPattern: index))
    let limit = UInt32(2 * cropPadding + 1)
    let isMirrored = random.next() >> 31 == 1
    let top = Int32(random.below(limit)) - Int32(cropPadding)
    let left = Int32(random.below(limit)) - Int32(cropPadding)
    return gk_crop(top: top, left: left, flip: flip && isMirrored ? 1 : 0)
  }
}
