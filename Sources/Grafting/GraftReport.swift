/// What a graft did, layer by layer and network by network.
public struct GraftReport: Sendable {
  /// One layer of one network.
  public struct Entry: Equatable, Sendable {
    /// The network that gave.
    public let source: Int
    /// The share of its own weights that the layer kept.
    public let alpha: Double
    /// Entropy in nats.
    public let entropyBefore: Double
    public internal(set) var entropyAfter: Double
    public let filters: Int
    /// Filters whose l1 norm is under the threshold.
    public let invalidBefore: Int
    public internal(set) var invalidAfter: Int
    /// Mean l1 norm of the filters.
    public let normBefore: Double
    public internal(set) var normAfter: Double
    /// Elements of the layer and of what follows it, of float16 or bfloat16, that differ from one
    /// that they take from and yet are rounded to what they were.
    public internal(set) var unmoved: Int

    public init(
      source: Int, alpha: Double, entropyBefore: Double, entropyAfter: Double, filters: Int,
      invalidBefore: Int, invalidAfter: Int, normBefore: Double, normAfter: Double,
      unmoved: Int = 0
    ) {
      self.source = source
      self.alpha = alpha
      self.entropyBefore = entropyBefore
      self.entropyAfter = entropyAfter
      self.filters = filters
      self.invalidBefore = invalidBefore
      self.invalidAfter = invalidAfter
      self.normBefore = normBefore
      self.normAfter = normAfter
      self.unmoved = unmoved
    }
  }

  /// One layer of every network.
  public struct Layer: Sendable {
    public let name: String
    /// Its index among the tensors.
    public let tensor: Int
    /// One for each network.
    public internal(set) var networks: [Entry]

    public init(name: String, tensor: Int, networks: [Entry]) {
      self.name = name
      self.tensor = tensor
      self.networks = networks
    }
  }

  public internal(set) var layers: [Layer]
  public let networkCount: Int

  public init(layers: [Layer], networkCount: Int) {
    self.layers = layers
    self.networkCount = networkCount
  }
}
