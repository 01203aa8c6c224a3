import GraftKernels
import GraftSupport
import Grafting

/// Mixes every image with the next one of its batch, the last with the first: which images those
/// are is random, since the epoch's order is.
///
/// *Mixup* (Zhang et al. 2018, arXiv 1710.09412): share x + (1 - share) x', the share drawn from
/// Beta(mixup, mixup). *CutMix* (Yun et al. 2019, arXiv 1905.04899): a rectangle of x' laid over x
/// about a pixel drawn anywhere, its sides sqrt(1 - l) of the image's with l drawn from
/// Beta(cutmix, cutmix), cut off where it leaves the image; the share is that of the pixels which
/// stay. Labels are mixed by the share. With both, each image gets one or the other, equally often.
///
/// Shares are drawn for every image (the papers' code draws one for a whole batch).
public struct Mixing: Equatable, Sendable {
  /// The parameter of mixup's Beta distribution; 0 for none.
  public var mixup = 0.0
  /// The parameter of CutMix's; 0 for none.
  public var cutmix = 0.0
  /// The share of the images that are mixed.
  public var probability = 1.0

  /// The largest parameter.
  public static let limit = 1e6

  public init() {}

  public var isOn: Bool { (mixup > 0 || cutmix > 0) && probability > 0 }

  func check() throws(GraftError) {
    for (parameter, name) in [(mixup, "mixup"), (cutmix, "cutmix")] {
      guard parameter >= 0, parameter <= Mixing.limit else {
        throw GraftError(
          .invalidArgument, "\(name) is \(parameter); allowed are 0 to \(Int(Mixing.limit))")
      }
    }
    guard probability >= 0, probability <= 1 else {
      throw GraftError(.invalidArgument, "mixing is \(probability); allowed are 0 to 1")
    }
  }

  /// What becomes of image `index`, of `height` x `width` pixels; its partner is the caller's.
  func draw(of index: Int64, in epoch: RandomStream.Family, height: Int, width: Int) -> gk_mixed {
    var mixed = gk_mixed(partner: 0, share: 1, top: 0, left: 0, height: 0, width: 0)
    var random = RandomStream(family: epoch, UInt64(bitPattern: index))
    guard random.uniform() < probability else { return mixed }
    let isCut = random.next() >> 31 == 1
    guard cutmix > 0, isCut || mixup == 0 else {
      mixed.share = random.beta(mixup)
      return mixed
    }
    let side = (1 - random.beta(cutmix)).squareRoot()
    func extent(_ length: Int) -> Range<Int> {
      let half = Int(Double(length) * side) / 2
      let middle = Int(random.below(UInt32(length)))
      return max(middle - half, 0)..<min(middle + half, length)
    }
    let (rows, columns) = (extent(height), extent(width))
    mixed.top = Int32(rows.lowerBound)
    mixed.left = Int32(columns.lowerBound)
    mixed.height = Int32(rows.count)
    mixed.width = Int32(columns.count)
    let pixels = Double(rows.count) * Double(columns.count)
    mixed.share = 1 - pixels / (Double(height) * Double(width))
    return mixed
  }
}

/// Where the labels of a batch of mixed images go: an image's target is its own label by its share,
/// and the other by the rest.
public struct MixedTargets {
  public let others: UnsafeMutablePointer<Int64>
  public let shares: UnsafeMutablePointer<Double>

  public init(others: UnsafeMutablePointer<Int64>, shares: UnsafeMutablePointer<Double>) {
    self.others = others
    self.shares = shares
  }

  /// What the loss reads.
  var labels: Distillation.MixedLabels { .init(others: others, shares: shares) }
}
