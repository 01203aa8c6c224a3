import GraftKernels
import GraftSupport

/// A graft of K networks: where from, how much, when. The paper is the ring, the entropies, every
/// epoch; everything else is the same operator with other choices.
public struct GraftOperator: Sendable {
  /// The most networks that one graft can take.
  public static let maxNetworks = Int(GK_MIX_NETWORKS)

  /// Where from.
  public var source = Source.ring
  /// How much.
  public var weighting = Weighting.paper
  /// How many grafts came before this one: the exponential ring's t, and the noise's.
  public var step = 0
  /// Elements that are 0 in their receiver stay 0, in tensors of two or more dimensions: the mask
  /// of a pruned network. Otherwise its zeros come back.
  public var keepZeros = false
  /// When. Looked at by whoever trains, not by `apply`.
  public var period = Period()
  /// Bins of the entropy, 1 to 65536.
  public var bins = 10
  /// A filter whose l1 norm is under this counts as invalid in the report.
  public var threshold = 0.1
  /// Bins and rounding as in the authors' published code.
  public var compatibility = false
  /// 0 takes what OpenMP would. Results are the same at any count.
  public var threads = 0

  public init() {}

  /// Grafts the networks in place. Everything is checked before the first weight changes.
  ///
  /// - Parameters:
  ///   - networks: of one structure: the same shapes in the same order.
  ///   - plan: nil makes one by order.
  ///   - dryRun: finds out what would happen and writes nothing.
  ///   - measuresResult: false leaves the report's figures after the graft as those before, and the
  ///     results unmeasured, which saves a fifth of the time or so.
  @discardableResult
  public func apply(
    to networks: [[TensorView]], plan: GraftPlan? = nil, dryRun: Bool = false,
    measuresResult: Bool = true
  ) throws(GraftError) -> GraftReport {
    try checkSettings()
    try checkSource(networks.count)
    guard let first = networks.first else {
      throw GraftError(.invalidArgument, "no networks; allowed are 1 to \(Self.maxNetworks)")
    }
    let plan = plan ?? GraftPlan(byOrderOf: first)
    let tied = try checkNetworks(networks, plan: plan)
    var step = try GraftRun(
      settings: self, networks: networks, plan: plan, tied: tied, measuresResult: measuresResult)
    try step.measure()
    if source.isWithin {
      try step.revive(dryRun: dryRun)
    } else if dryRun {
      try step.tryMix()
    } else {
      try step.mix()
    }
    return step.report
  }

  private func checkSettings() throws(GraftError) {
    func demand(_ allowed: Bool, _ message: @autoclosure () -> String) throws(GraftError) {
      if !allowed { throw GraftError(.invalidArgument, message()) }
    }
    switch weighting {
    case .entropy(let a, let c), .filterEntropy(let a, let c), .l1(let a, let c):
      try demand(a >= 0 && a <= 1, "a is \(a); allowed are 0 to 1")
      try demand(c >= 0 && c.isFinite, "c is \(c); it must be finite and at least 0")
    case .filter: break
    case .constant(let alpha):
      try demand(alpha >= 0 && alpha <= 1, "constant is \(alpha); allowed are 0 to 1")
    }
    try demand(
      Information.allowedBins.contains(bins), "bins is \(bins); allowed are 1 to 65536")
    try demand(
      threshold >= 0 && threshold.isFinite,
      "threshold is \(threshold); it must be finite and at least 0")
    try demand((0...256).contains(threads), "threads is \(threads); allowed are 0 to 256")
    try demand(step >= 0, "step is \(step); it must be at least 0")
  }

  /// Checks that this can graft so many networks.
  public func checkSource(_ networks: Int) throws(GraftError) {
    if case .noise(let base, _) = source, !(base > 0 && base < 1) {
      throw GraftError(.invalidArgument, "noise is \(base); it must lie between 0 and 1")
    }
    guard case .given(let sources) = source else { return }
    guard sources.count == networks else {
      throw GraftError(
        .invalidArgument,
        "source_count is \(sources.count), and there are \(networks) networks; each needs its own")
    }
    for (k, other) in sources.enumerated() where !(0..<networks).contains(other) {
      throw GraftError(
        .invalidArgument, "sources[\(k)] is \(other), and there are \(networks) networks")
    }
  }

  /// Returns the tensors that are the same memory as an earlier one of their network (tied
  /// weights): they are written once.
  private func checkNetworks(_ networks: [[TensorView]], plan: GraftPlan) throws(GraftError)
    -> Set<Int>
  {
    guard networks.count <= Self.maxNetworks else {
      throw GraftError(
        .invalidArgument,
        "network_count is \(networks.count); allowed are 1 to \(Self.maxNetworks)")
    }
    var places: [Place] = []
    for (k, network) in networks.enumerated() {
      guard network.count == plan.entries.count else {
        throw GraftError(
          .shapeMismatch,
          "networks[\(k)] has \(network.count) tensors, and the plan has \(plan.entries.count)")
      }
      for (index, tensor) in network.enumerated() {
        let entry = plan.entries[index]
        let label = "networks[\(k)]: \(plan.named(index))"
        guard tensor.shape.count == entry.rank else {
          throw GraftError(
            .shapeMismatch,
            "\(label) has \(tensor.shape.count) dimensions, and in the plan \(entry.rank)")
        }
        let expected = networks[0][index].shape
        guard tensor.shape == expected else {
          throw GraftError(
            .shapeMismatch, "\(label) has shape \(tensor.shape), and in networks[0] \(expected)")
        }
        if entry.role == .leave { continue }
        guard tensor.type != .int64 else {
          throw GraftError(
            .unsupported,
            "\(label): the type is \(tensor.type); what is grafted must be of floating point, or "
              + "be left alone by the plan")
        }
        guard tensor.type == networks[0][index].type else {
          throw GraftError(
            .shapeMismatch,
            "\(label) is of type \(tensor.type), and in networks[0] "
              + "\(networks[0][index].type); they must be of the same")
        }
        if entry.role == .layer {
          do throws(GraftError) {
            try tensor.checkMeasurable(axis: entry.filterAxis)
          } catch {
            throw GraftError(error.kind, "networks[\(k)]: \(error.message)")
          }
        }
        guard tensor.count > 0 else { continue }
        try tensor.checkWritable()
        places.append(Place(network: k, tensor: index, view: tensor))
      }
    }
    return try tiedTensors(places, names: plan, networks: networks.count)
  }

  private func tiedTensors(_ places: [Place], names plan: GraftPlan, networks: Int)
    throws(GraftError) -> Set<Int>
  {
    var tied: [Int: Set<Int>] = [:]
    for (a, b) in sharedPlaces(places) {
      guard a.network == b.network else {
        throw GraftError(
          .invalidArgument,
          "networks[\(a.network)] (\(plan.named(a.tensor))) and networks[\(b.network)] "
            + "(\(plan.named(b.tensor))) share memory; every network needs its own")
      }
      guard a.isSame(as: b) else {
        throw GraftError(
          .invalidArgument,
          "networks[\(a.network)]: \(plan.named(a.tensor)) and \(plan.named(b.tensor)) share a "
            + "part of their memory; leave one of them out")
      }
      tied[max(a.tensor, b.tensor), default: []].insert(a.network)
    }
    for (tensor, owners) in tied where owners.count != networks {
      throw GraftError(
        .shapeMismatch,
        "\(plan.named(tensor)) is the same memory as an earlier tensor in \(owners.count) of "
          + "\(networks) networks")
    }
    return Set(tied.keys)
  }
}
