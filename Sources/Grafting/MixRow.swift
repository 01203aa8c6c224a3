/// One result of a graft as a weighted sum of networks, and the networks that receive it.
struct MixRow {
  private(set) var networks: [Int32]
  private(set) var weights: [Double]
  /// Where the result goes.
  var targets: [Int]
  /// Which networks those are, or stand for in a trial.
  private(set) var receivers: [Int]

  /// What `receiver` comes to: alpha of itself, the rest shared among others. Terms are in order of
  /// the networks, so that receivers of the same sum get the same bits.
  init(receiver: Int, coefficient: Coefficient, shares: [Source.Share]) {
    var sum: [Int: Double] = [receiver: coefficient.alpha]
    for share in shares {
      sum[share.network, default: 0] += coefficient.complement * share.weight
    }
    let terms = sum.filter { $0.value != 0 }.sorted { $0.key < $1.key }
    networks = terms.map { Int32($0.key) }
    weights = terms.map(\.value)
    targets = [receiver]
    receivers = targets
  }

  /// What `receiver` receives of others, beside what it keeps (`RowScales`).
  init(receiver: Int, shares: [Source.Share]) {
    let terms = shares.filter { $0.weight != 0 }.sorted { $0.network < $1.network }
    networks = terms.map { Int32($0.network) }
    weights = terms.map(\.weight)
    targets = [receiver]
    receivers = targets
  }

  /// The first network becomes its own weights plus the second's.
  static let sum = MixRow(networks: [0, 1], weights: [1, 1], targets: [0], receivers: [0])

  /// The first network as it is.
  static let copy = MixRow(networks: [0], weights: [1], targets: [0], receivers: [0])

  private init(networks: [Int32], weights: [Double], targets: [Int], receivers: [Int]) {
    self.networks = networks
    self.weights = weights
    self.targets = targets
    self.receivers = receivers
  }

  mutating func add(_ receiver: Int) {
    targets.append(receiver)
    receivers.append(receiver)
  }

  var changesNothing: Bool { networks == targets.map(Int32.init) && weights == [1] }

  func hasSameTerms(as other: MixRow) -> Bool {
    networks == other.networks && weights == other.weights
  }

  func with(targets: [Int]) -> MixRow {
    var row = self
    row.targets = targets
    return row
  }
}
