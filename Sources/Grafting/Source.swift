/// *Where from*: what each network receives in a graft, as shares of the networks' states from
/// before it. Every source is such a list of shares; the operator knows nothing else of it.
public enum Source: Equatable, Sendable {
  /// Network k receives from network k - 1, the first from the last (paper, Algorithm 1).
  case ring

  /// One network's part in what another receives.
  public struct Share: Equatable, Sendable {
    public let network: Int
    /// The shares of a receiver add up to 1.
    public let weight: Double
  }

  /// What network `receiver` of `count` receives. The first share is the one that a report names.
  public func shares(for receiver: Int, of count: Int) -> [Share] {
    switch self {
    case .ring: [Share(network: (receiver + count - 1) % count, weight: 1)]
    }
  }
}
