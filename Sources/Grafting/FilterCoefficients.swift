import GraftKernels
import GraftSupport

/// Coefficients of single filters, from their batch-norm scales: alpha_j = |g_j own| /
/// (|g_j own| + |g_j other|), 1/2 where both are 0, g as it was before the graft. It is applied to
/// entry j of the batch norm, to filter j and its bias, and to input channel j of what comes next.
///
/// A weight that has both, its filter's and its input channel's, takes their mean: so two networks
/// that graft each other still come out equal, which the product of the two would not give.
final class FilterCoefficients {
  private let networks: [[TensorView]]
  private let plan: GraftPlan
  private let shares: (Int) -> [Source.Share]
  private var known: [Int: [Buffer<Double>]] = [:]

  init(
    _ networks: [[TensorView]], _ plan: GraftPlan, shares: @escaping (Int) -> [Source.Share]
  ) {
    self.networks = networks
    self.plan = plan
    self.shares = shares
  }

  /// Where a tensor's coefficients come from.
  struct Place {
    let filter: Int?
    let input: Int?
    /// As in `gk_scales`.
    var run = 1
    var filtersPerGroup = 1
    var groupStep = 0
  }

  /// Which scales fit tensor `index`; nil for none.
  ///
  /// - Throws: `.shapeMismatch` where the caller named some that do not.
  func place(of index: Int) throws(GraftError) -> Place? {
    let entry = plan.entries[index]
    let (shape, axis) = (networks[0][index].shape, entry.filterAxis)
    guard !shape.isEmpty, entry.role != .leave, networks[0][index].count > 0 else { return nil }
    let filters = shape[axis]
    var filter = entry.scale
    if let scale = filter, scaleCount(scale) != filters {
      try refuse(entry, "\(plan.named(index)) has \(filters) filters", scale)
      filter = nil
    }
    guard let scale = entry.inputScale, shape.count > 1 else {
      return filter.map { Place(filter: $0, input: nil) }
    }
    let inputs = shape[axis == 0 ? 1 : 0]
    let (length, channels) = (networks[0][index].count / filters, scaleCount(scale))
    var place = Place(filter: filter, input: scale)
    if channels > 0, inputs % channels == 0 {  // flattened: several features a channel
      place.run = length / channels
      place.filtersPerGroup = filters
    } else if channels > 0, channels % inputs == 0, filters % (channels / inputs) == 0 {  // groups
      place.run = length / inputs
      place.filtersPerGroup = filters / (channels / inputs)
      place.groupStep = inputs
    } else {
      try refuse(entry, "\(plan.named(index)) has \(inputs) input channels", scale)
      return filter.map { Place(filter: $0, input: nil) }
    }
    return place
  }

  private func scaleCount(_ scale: Int) -> Int {
    plan.entries[scale].role == .leave ? 0 : networks[0][scale].count
  }

  private func refuse(_ entry: GraftPlan.Entry, _ what: String, _ scale: Int) throws(GraftError) {
    if entry.scalesAreGiven {
      throw GraftError(
        .shapeMismatch,
        "\(what), and its scales (\(plan.named(scale))) are \(scaleCount(scale))")
    }
  }

  /// The coefficients of every network that the scales `index` give. They are finite.
  func coefficients(_ index: Int) throws(GraftError) -> [Buffer<Double>] {
    if let found = known[index] { return found }
    let count = networks[0][index].count
    var sizes: [Buffer<Double>] = []
    for network in networks {
      let values = try Buffer<Double>(count: count, for: "batch-norm scales")
      network[index].readMagnitudes(to: values)
      sizes.append(values)
    }
    var found: [Buffer<Double>] = []
    for k in networks.indices {
      let alphas = try Buffer<Double>(count: count, for: "coefficients of filters")
      let given = shares(k)
      for j in 0..<count {
        let other = given.reduce(0) { $0 + $1.weight * sizes[$1.network][j] }
        alphas[j] = Coefficient(own: sizes[k][j], other: other).alpha
      }
      found.append(alphas)
    }
    known[index] = found
    return found
  }

  /// The mean over the filters, which a report names.
  func mean(_ place: Place?, network: Int) throws(GraftError) -> Double {
    guard let place, let index = place.filter ?? place.input else { return 0.5 }
    let alphas = try coefficients(index)[network]
    return (0..<alphas.count).reduce(0) { $0 + alphas[$1] } / Double(max(alphas.count, 1))
  }

  /// What the kernel needs for one network's row.
  func scales(_ place: Place, network: Int) throws(GraftError) -> RowScales {
    RowScales(
      own: network, filter: try place.filter.map { (index) throws(GraftError) in
        try coefficients(index)[network]
      },
      input: try place.input.map { (index) throws(GraftError) in
        try coefficients(index)[network]
      },
      place: place)
  }
}

/// The coefficients of one row's filters and input channels.
struct RowScales {
  let own: Int
  let filter: Buffer<Double>?
  let input: Buffer<Double>?
  let place: FilterCoefficients.Place

  var description: gk_scales {
    gk_scales(
      own: Int32(own), filter: filter.map { UnsafePointer($0.pointer) },
      input: input.map { UnsafePointer($0.pointer) }, run: Int64(max(place.run, 1)),
      filters_per_group: Int64(max(place.filtersPerGroup, 1)),
      group_step: Int64(place.groupStep))
  }
}

extension TensorView {
  /// Copies the magnitudes of a vector.
  fileprivate func readMagnitudes(to values: Buffer<Double>) {
    for j in 0..<count { values[j] = abs(number(at: j * (strides.first ?? 1)) ?? 0) }
  }
}
