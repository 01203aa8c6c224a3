import Glibc
import GraftKernels
import GraftSupport

// Scions from within (paper, section 3.1): invalid filters receive another filter of their own
// layer, or noise. What else there is in the network stays.

/// What one layer of one network gives itself: described first, which can fail for want of memory,
/// then written, which cannot.
struct Revival {
  /// Which filters receive, and from which of their layer; nil for noise.
  private var grafts: [(receiver: Int, giver: Int?)] = []
  private let batch: MixBatch
  private let noise: Noise?
  private let type: ElementType
  private let length: Int

  /// - Parameters:
  ///   - filters: the layer by filters, as it is and will be.
  ///   - norms: its filters' l1 norms.
  ///   - noise: nil for filters of the layer.
  init(
    of filters: gk_weights, type: ElementType, measured measurement: Measurement,
    threshold: Double, noise: Noise?, keepsZeros: Bool, counting: Counting,
    scratch: Buffer<Double>
  ) throws(GraftError) {
    self.noise = noise
    self.type = type
    length = Int(filters.length)
    let norms = measurement.norms
    let order = (0..<norms.count).sorted { (norms[$0], $0) < (norms[$1], $1) }
    let invalid = measurement.invalidFilters(under: threshold)
    // The i-th largest for the i-th smallest; a filter of the larger half never receives.
    let receiving = noise == nil ? min(invalid, norms.count / 2) : invalid
    batch = MixBatch(networks: 2, counting, scratch: scratch)
    let most = max(abs(measurement.result.low), abs(measurement.result.high))
    for (i, receiver) in order.prefix(receiving).enumerated() {
      let giver = noise == nil ? order[norms.count - 1 - i] : nil
      guard norms[receiver] + (noise.map { $0.largest } ?? most) <= type.largest else {
        throw GraftError(
          .notFinite, "a filter and what would be added to it come to more than \(type) can hold")
      }
      let own = Revival.filter(receiver, of: filters, type)
      var other = own
      if let giver {
        other = Revival.filter(giver, of: filters, type)
      } else if let noise {
        other = gk_weights()
        other.data = UnsafeMutableRawPointer(noise.buffer.pointer)
          + i * length * noise.size(for: type)
        other.type = Int32((type == .float64 ? ElementType.float64 : .float32).rawValue)
        (other.filters, other.length, other.rank) = (1, filters.length, 1)
        (other.shape.0, other.stride.0) = (filters.length, 1)
      }
      grafts.append((receiver, giver))
      try batch.add(
        from: [own, other], to: [own], rows: [.sum], written: nil, keepsZeros: keepsZeros)
    }
    try batch.prepare()
  }

  /// Adds what is to be added. Returns how many elements could not move.
  func run(step: Int, network: Int, tensor: Int) -> Int {
    if let noise {
      for (i, graft) in grafts.enumerated() {
        noise.fill(
          i * length, count: length, type, network: network, tensor: tensor,
          filter: graft.receiver)
      }
    }
    batch.run()
    return grafts.indices.reduce(0) { $0 + batch.unmoved($1, 0) }
  }

  private static func filter(_ index: Int, of filters: gk_weights, _ type: ElementType)
    -> gk_weights
  {
    var one = filters
    one.data = filters.data.map { $0 + index * Int(filters.filter_stride) * type.size }
    one.filters = 1
    return one
  }
}

/// N(0, sigma_t), sigma_t = base^t: a function of the seed, t, and whose weight it is for.
final class Noise {
  private let sigma: Double
  private let seed: UInt64
  private let step: Int
  let buffer: Buffer<Double>

  /// - Parameter count: room for as many numbers at a time.
  init(base: Double, seed: UInt64, step: Int, count: Int) throws(GraftError) {
    sigma = pow(base, Double(step))
    self.seed = seed
    self.step = step
    buffer = try Buffer(count: count, for: "noise")
  }

  /// No number of the stream's normal distribution lies so far out: -2 ln 2^-53 is under 9^2.
  var largest: Double { 9 * sigma }

  func size(for type: ElementType) -> Int { type == .float64 ? 8 : 4 }

  func fill(
    _ offset: Int, count: Int, _ type: ElementType, network: Int, tensor: Int, filter: Int
  ) {
    var stream = RandomStream(
      seed: seed, purpose: .noise, UInt64(truncatingIfNeeded: step &* 64 &+ network),
      UInt64(truncatingIfNeeded: tensor &<< 32 ^ filter))
    let place = UnsafeMutableRawPointer(buffer.pointer) + offset * size(for: type)
    for i in 0..<count {
      let number = sigma * stream.normal()
      if type == .float64 {
        place.storeBytes(of: number, toByteOffset: i * 8, as: Double.self)
      } else {
        place.storeBytes(of: Float(number), toByteOffset: i * 4, as: Float.self)
      }
    }
  }
}

extension ElementType {
  /// The largest number that it holds.
  var largest: Double {
    switch self {
    case .float32: Double(Float.greatestFiniteMagnitude)
    case .float64, .int64: .greatestFiniteMagnitude
    case .float16: 65504
    case .bfloat16: 0x1.FEp127
    }
  }
}
