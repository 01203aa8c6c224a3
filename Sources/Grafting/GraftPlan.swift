import GraftSupport

/// Which tensors of a network carry information of their own, and which follow them.
public struct GraftPlan: Sendable {
  /// The part that a tensor plays in a graft.
  public enum Role: Equatable, Sendable {
    /// Decides its own coefficient.
    case layer
    /// Takes the coefficient of the layer at this index.
    case follows(Int)
    /// Belongs to no layer: half and half.
    case half
    /// Left alone.
    case leave
  }

  /// Why a tensor plays its part; the numbers are those of `graft_rule`.
  public enum Rule: UInt32, Sendable {
    case convolution = 0
    case linear = 1
    case classifier = 2
    case order = 3
    case noLayer = 4
    case integer = 5
    case given = 6
  }

  /// A tensor's place.
  public struct Entry: Sendable {
    public let name: String
    public let rank: Int
    public let type: ElementType
    public fileprivate(set) var role: Role
    public fileprivate(set) var rule: Rule
    /// The dimension along which its filters lie.
    public fileprivate(set) var filterAxis = 0
    /// Where every filter has a coefficient of its own (`Weighting.filter`): the tensor of
    /// batch-norm scales, one a filter, or of a vector one an entry; and that of its input channels.
    public fileprivate(set) var scale: Int?
    public fileprivate(set) var inputScale: Int?
    /// Whether the caller said so; what was found by order may turn out not to fit.
    public fileprivate(set) var scalesAreGiven = false
  }

  public private(set) var entries: [Entry]

  /// The plan by order alone, as of a state dict: 3 or more dimensions are a convolution; the first
  /// array of 2 dimensions after one follows it; others of 2 stand for themselves; 1 and 0 follow
  /// the last layer before them; integers are left alone. Names decide nothing.
  public init(byOrderOf tensors: [(name: String, rank: Int, type: ElementType)]) {
    entries = []
    entries.reserveCapacity(tensors.count)
    var layer: Int? = nil
    var lastIsConvolution = false
    for (index, tensor) in tensors.enumerated() {
      let role: Role
      let rule: Rule
      if tensor.type == .int64 {
        (role, rule) = (.leave, .integer)
      } else if tensor.rank >= 3 {
        (role, rule) = (.layer, .convolution)
        (layer, lastIsConvolution) = (index, true)
      } else if tensor.rank == 2, lastIsConvolution, let feeder = layer {
        (role, rule) = (.follows(feeder), .classifier)
        lastIsConvolution = false
      } else if tensor.rank == 2 {
        (role, rule) = (.layer, .linear)
        layer = index
      } else if let feeder = layer {
        (role, rule) = (.follows(feeder), .order)
      } else {
        (role, rule) = (.half, .noLayer)
      }
      entries.append(
        Entry(name: tensor.name, rank: tensor.rank, type: tensor.type, role: role, rule: rule))
    }
    findBatchNorms()
  }

  /// Batch norms by order: four vectors (scale, shift, mean, variance) and a counter. Directly
  /// after an array of two or more dimensions, or after that and one vector (its bias), they are the
  /// norm of its filters. Other norms look otherwise, so nothing else is taken for one.
  private mutating func findBatchNorms() {
    var weight: Int?
    var vectors: [Int] = []
    for (index, entry) in entries.enumerated() {
      if entry.type == .int64, entry.rank == 0 {
        if vectors.count == 4 || (vectors.count == 5 && weight != nil) {
          let scale = vectors[vectors.count - 4]
          for vector in vectors { entries[vector].scale = scale }
          if let weight { entries[weight].scale = scale }
        }
        (weight, vectors) = (nil, [])
      } else if entry.rank == 1, entry.type != .int64 {
        vectors.append(index)
      } else {
        (weight, vectors) = (entry.rank >= 2 && entry.type != .int64 ? index : nil, [])
      }
    }
  }

  /// Says which batch-norm scales decide a tensor's coefficients under `Weighting.filter`.
  ///
  /// - Parameters:
  ///   - scale: of its filters, or of its entries where it is a vector; nil for none.
  ///   - inputScale: of its input channels.
  public mutating func setScales(_ index: Int, scale: Int?, inputScale: Int?) throws(GraftError) {
    guard entries.indices.contains(index) else {
      throw GraftError(
        .invalidArgument, "index is \(index), and the plan has \(entries.count) tensors")
    }
    for (tensor, label) in [(scale, "scale"), (inputScale, "input_scale")] {
      guard let tensor else { continue }
      guard entries.indices.contains(tensor), entries[tensor].rank == 1,
        entries[tensor].type != .int64
      else {
        throw GraftError(
          .invalidArgument, "\(label) is \(tensor): it must be the index of a tensor of scales, "
            + "which has one dimension")
      }
    }
    guard inputScale == nil || entries[index].rank >= 2 else {
      throw GraftError(
        .invalidArgument,
        "input_scale: \(named(index)) has \(entries[index].rank) dimensions, and no input channels")
    }
    entries[index].scale = scale
    entries[index].inputScale = inputScale
    entries[index].scalesAreGiven = true
  }

  /// The plan by order of a network's own tensors.
  public init(byOrderOf tensors: [TensorView]) {
    self.init(byOrderOf: tensors.map { ($0.name, $0.shape.count, $0.type) })
  }

  /// The index of the tensor whose coefficient tensor `index` takes; its own where it takes none.
  public func feeder(of index: Int) -> Int {
    if case .follows(let feeder) = entries[index].role { feeder } else { index }
  }

  /// Changes a tensor's place.
  ///
  /// - Throws: `.invalidArgument` for an index, feeder, axis or role that cannot be;
  ///   `.invalidState` where others follow a layer that would stop being one.
  public mutating func set(_ index: Int, to role: Role, filterAxis: Int = 0) throws(GraftError) {
    guard entries.indices.contains(index) else {
      throw GraftError(
        .invalidArgument, "index is \(index), and the plan has \(entries.count) tensors")
    }
    let entry = entries[index]
    guard filterAxis >= 0, filterAxis <= 1, filterAxis < max(entry.rank, 1) else {
      throw GraftError(
        .invalidArgument,
        "filter_axis is \(filterAxis), and \(named(index)) has \(entry.rank) dimensions; allowed "
          + "are 0 and 1, below the number of dimensions")
    }
    if entry.type == .int64, role != .leave {
      throw GraftError(
        .invalidArgument,
        "index is \(index): \(named(index)) holds integers, which can only be left alone")
    }
    if case .follows(let feeder) = role {
      guard entries.indices.contains(feeder), feeder != index, entries[feeder].role == .layer
      else {
        throw GraftError(
          .invalidArgument,
          "feeder is \(feeder): it must be the index of another tensor that is a layer")
      }
    }
    if role != .layer,
      let follower = entries.firstIndex(where: { $0.role == .follows(index) })
    {
      throw GraftError(
        .invalidState,
        "index is \(index): \(named(index)) must stay a layer as long as \(named(follower)) "
          + "follows it")
    }
    entries[index].role = role
    entries[index].rule = .given
    entries[index].filterAxis = filterAxis
  }

  /// How messages name a tensor.
  func named(_ index: Int) -> String {
    let name = entries[index].name
    return name.isEmpty ? "tensor \(index)" : name
  }
}
