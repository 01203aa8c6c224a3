/// *Where from*: what each network receives in a graft, as shares of the networks' states from
/// before it. Every source is such a list of shares; the operator knows nothing else of it.
public enum Source: Equatable, Sendable {
  /// Network k receives from network k - 1, the first from the last (paper, Algorithm 1).
  case ring
  /// Every network receives the mean of all, itself among them (population averaging, PAPA).
  case mean
  /// Every network receives the mean of all the others.
  case others
  /// Network k receives from network k - 2^t, where t counts grafts and begins anew at 2^t >= K: in
  /// log2 K grafts whatever one network knows has reached every other.
  case exponential
  /// Network k receives from the network at place k.
  case given([Int])
  /// A network's own filters: in each layer the i-th largest by l1 norm is added to the i-th
  /// smallest, if that is invalid.
  case own
  /// N(0, sigma_t), sigma_t = base^t, t being the graft's step, added to the invalid filters.
  case noise(base: Double, seed: UInt64)

  /// Whether a network receives nothing of others: then it has no shares, and nothing is weighed.
  var isWithin: Bool {
    switch self {
    case .own, .noise: true
    case .ring, .mean, .others, .exponential, .given: false
    }
  }

  /// One network's part in what another receives.
  public struct Share: Equatable, Sendable {
    public let network: Int
    /// The shares of a receiver add up to 1.
    public let weight: Double
  }

  /// What network `receiver` of `count` receives. The first share is the one that a report names.
  ///
  /// - Parameter step: how many grafts came before this one, >= 0.
  public func shares(for receiver: Int, of count: Int, step: Int = 0) -> [Share] {
    switch self {
    case .ring: return [Share(network: (receiver + count - 1) % count, weight: 1)]
    case .mean: return (0..<count).map { Share(network: $0, weight: 1 / Double(count)) }
    case .others:
      if count == 1 { return [Share(network: receiver, weight: 1)] }
      return (0..<count).filter { $0 != receiver }.map {
        Share(network: $0, weight: 1 / Double(count - 1))
      }
    case .exponential:
      var turns = 1
      while 1 << turns < count { turns += 1 }
      let distance = (1 << (max(step, 0) % turns)) % count
      return [Share(network: (receiver + count - distance) % count, weight: 1)]
    case .given(let sources):
      guard sources.indices.contains(receiver) else { return [] }
      return [Share(network: sources[receiver], weight: 1)]
    case .own, .noise: return []
    }
  }
}
