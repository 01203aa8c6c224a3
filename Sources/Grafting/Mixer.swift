import GraftKernels
import GraftSupport

/// One result of a graft as a weighted sum of networks, and the networks that receive it.
struct MixRow {
  private(set) var networks: [Int32]
  private(set) var weights: [Double]
  var targets: [Int]

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

/// The scratch memory of the mixing kernel, and the call.
struct Mixer {
  private let threads: Int
  private let scratch: Buffer<Float>

  /// - Parameter rows: the most rows that will be mixed at once.
  init(networks: Int, rows: Int, threads: Int) throws(GraftError) {
    self.threads = threads
    let workers = Int(gk_threads(Int32(threads)))
    scratch = try Buffer(
      count: workers * Int(gk_mix_scratch(Int64(networks), Int64(rows))), for: "a graft")
  }

  /// Mixes one tensor; row targets count in `to`. `results` has one measurement a row, or none.
  func mix(from: [gk_weights], to: [gk_weights], rows: [MixRow], results: [Measurement]) {
    let networks = rows.flatMap(\.networks)
    let weights = rows.flatMap(\.weights)
    let targets = rows.flatMap { $0.targets.map(Int32.init) }
    var measurements = results.map(\.result)
    networks.withUnsafeBufferPointer { networks in
      weights.withUnsafeBufferPointer { weights in
        targets.withUnsafeBufferPointer { targets in
          var described: [gk_mix_row] = []
          var (term, target) = (0, 0)
          for row in rows {
            described.append(
              gk_mix_row(
                terms: Int32(row.weights.count), targets: Int32(row.targets.count),
                source: networks.baseAddress.map { $0 + term },
                weight: weights.baseAddress.map { $0 + term },
                target: targets.baseAddress.map { $0 + target }))
            term += row.weights.count
            target += row.targets.count
          }
          described.withUnsafeBufferPointer { described in
            from.withUnsafeBufferPointer { from in
              to.withUnsafeBufferPointer { to in
                var mix = gk_mix(
                  networks: Int64(from.count), rows: Int64(described.count),
                  from: from.baseAddress, to: to.baseAddress, row: described.baseAddress,
                  scratch: scratch.pointer)
                measurements.withUnsafeMutableBufferPointer {
                  gk_mix_networks(&mix, Int32(threads), results.isEmpty ? nil : $0.baseAddress)
                }
              }
            }
          }
        }
      }
    }
    for (result, measurement) in zip(results, measurements) { result.result = measurement }
  }
}
