import CGraft
import GraftSupport
import GraftTraining

// graft/augmentation.h.

private let augmentationDefaults: graft_augmentation = {
  let paper = Augmentation()
  return graft_augmentation(
    struct_size: MemoryLayout<graft_augmentation>.size, crop_padding: Int64(paper.cropPadding),
    flip: 1, erasing: 0, erasing_area_low: paper.erasing.area.lowerBound,
    erasing_area_high: paper.erasing.area.upperBound,
    erasing_ratio_low: paper.erasing.ratio.lowerBound,
    erasing_ratio_high: paper.erasing.ratio.upperBound, mixup: 0, cutmix: 0,
    mixing: paper.mixing.probability)
}()

@implementation @_cdecl("graft_augmentation_init")
public func graft_augmentation_init(
  _ options: UnsafeMutablePointer<graft_augmentation>?, _ size: Int
) {
  fill(options, size: size, with: augmentationDefaults)
}

/// A caller's augmentation, checked.
func imageAugmentation(_ pointer: UnsafePointer<graft_augmentation>?) throws(GraftError)
  -> Augmentation
{
  let given = try options(pointer, defaults: augmentationDefaults, name: "augmentation")
  var result = Augmentation(
    cropPadding: Int(clamping: given.crop_padding), flip: try flag(given.flip, "flip"))
  result.erasing.probability = given.erasing
  result.erasing.area = try range(
    given.erasing_area_low, given.erasing_area_high, "erasing_area")
  result.erasing.ratio = try range(
    given.erasing_ratio_low, given.erasing_ratio_high, "erasing_ratio")
  result.mixing.mixup = given.mixup
  result.mixing.cutmix = given.cutmix
  result.mixing.probability = given.mixing
  try result.check()
  return result
}

private func range(_ low: Double, _ high: Double, _ name: String) throws(GraftError)
  -> ClosedRange<Double>
{
  guard low <= high else {
    throw GraftError(
      .invalidArgument,
      "\(name)_low is \(low) and \(name)_high is \(high); the first may not be above the second")
  }
  return low...high
}
