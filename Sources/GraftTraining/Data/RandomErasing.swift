import Glibc
import GraftKernels
import GraftSupport

/// Erases a rectangle of an image (Zhong et al. 2020, arXiv 1708.04896), with the distribution of
/// torchvision's RandomErasing: of `area` of the image, as high as wide times `ratio`, both drawn
/// (the ratio on a logarithmic scale) up to ten times until it is smaller than the image, then laid
/// anywhere. What is erased shows as 0, after normalisation.
public struct RandomErasing: Equatable, Sendable {
  /// The share of the images of which a part is erased; 0 for none.
  public var probability = 0.0
  /// Shares of the image.
  public var area = 0.02...0.33
  /// Height over width.
  public var ratio = 0.3...3.3

  public init() {}

  func check() throws(GraftError) {
    guard probability >= 0, probability <= 1 else {
      throw GraftError(.invalidArgument, "erasing is \(probability); allowed are 0 to 1")
    }
    guard area.lowerBound >= 0, area.upperBound <= 1 else {
      throw GraftError(
        .invalidArgument,
        "erasing_area_low is \(area.lowerBound) and erasing_area_high is \(area.upperBound); "
          + "allowed are 0 to 1")
    }
    guard ratio.lowerBound > 0, ratio.upperBound.isFinite else {
      throw GraftError(
        .invalidArgument,
        "erasing_ratio_low is \(ratio.lowerBound) and erasing_ratio_high is \(ratio.upperBound); "
          + "allowed is what is above 0 and finite")
    }
  }

  /// Puts the rectangle of image `index`, which has `height` x `width` pixels, into its crop.
  func draw(
    of index: Int64, in epoch: RandomStream.Family, height: Int, width: Int,
    into crop: inout gk_crop
  ) {
    guard probability > 0 else { return }
    var random = RandomStream(family: epoch, UInt64(bitPattern: index))
    guard random.uniform() < probability else { return }
    let pixels = Double(height) * Double(width)
    for _ in 0..<10 {
      let size = pixels * random.uniform(in: area)
      let shape = exp(random.uniform(in: log(ratio.lowerBound)...log(ratio.upperBound)))
      let high = (size * shape).squareRoot().rounded(.toNearestOrEven)
      let wide = (size / shape).squareRoot().rounded(.toNearestOrEven)
      guard high < Double(height), wide < Double(width) else { continue }
      let (rows, columns) = (Int32(high), Int32(wide))
      crop.erased_height = rows
      crop.erased_width = columns
      crop.erased_top = Int32(random.below(UInt32(height) - UInt32(rows) + 1))
      crop.erased_left = Int32(random.below(UInt32(width) - UInt32(columns) + 1))
      return
    }
  }
}
