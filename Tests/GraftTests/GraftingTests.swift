import Glibc
import Graft
import Testing

/// The facade of the method: Swift values in, Swift values out.
@Suite struct GraftingTests {
  /// Reproducible weights between -1 and 1, cubed `sharpness` times over.
  private func weights(_ name: String, _ shape: [Int], seed: UInt64, sharpness: Int) throws
    -> Tensor
  {
    var state = seed &* 0x9E37_79B9_7F4A_7C15 | 1
    let values = (0..<shape.reduce(1, *)).map { _ in
      state ^= state << 13
      state ^= state >> 7
      state ^= state << 17
      let uniform = Double(state >> 11) / Double(1 << 53) * 2 - 1
      return Float((0..<sharpness).reduce(uniform) { power, _ in power * uniform * uniform })
    }
    return try Tensor(name, shape: shape, values: values)
  }

  private func network(_ k: Int) throws -> [Tensor] {
    [
      try weights("conv.weight", [6, 3, 3, 3], seed: UInt64(k + 1), sharpness: k),
      try weights("bn.weight", [6], seed: UInt64(k + 11), sharpness: 0),
      try weights("fc.weight", [4, 6], seed: UInt64(k + 21), sharpness: 0),
    ]
  }

  /// The definition, restated in float64.
  private func entropy(_ values: [Float], bins: Int = 10) -> Double {
    let (low, high) = (Double(values.min()!), Double(values.max()!))
    var counts = [Int](repeating: 0, count: bins)
    for value in values {
      let position = (Double(value) - low) / (high - low) * Double(bins)
      counts[min(Int(position), bins - 1)] += 1
    }
    return counts.filter { $0 > 0 }.reduce(0) { sum, count in
      let p = Double(count) / Double(values.count)
      return sum - p * log(p)
    }
  }

  @Test func informationIsTheDefinitions() throws {
    let w = try network(1)[0]
    let (whole, found, entropies) = try (
      w.entropy(), w.filterNorms(), w.filterEntropies(bins: 5)
    )
    #expect(abs(whole - entropy(w.values)) < 1e-12)
    let filters = (0..<6).map { Array(w.values[$0 * 27..<($0 + 1) * 27]) }
    let norms = filters.map { $0.reduce(0.0) { $0 + abs(Double($1)) } }
    #expect(zip(found, norms).allSatisfy { abs($0 - $1) < 1e-12 })
    #expect(
      zip(entropies, filters).allSatisfy { abs($0 - entropy($1, bins: 5)) < 1e-12 })
    let middle = norms.sorted()[3]
    let invalid = try w.invalidFilters(under: middle)
    #expect(invalid == norms.map { $0 < middle })
  }

  @Test func ringOfThreeReceivesTheStateBefore() throws {
    let before = try (0..<3).map(network)
    var networks = before
    let report = try graft(&networks)
    #expect(report.layers.map(\.name) == ["conv.weight"])
    for k in 0..<3 {
      let giver = (k + 2) % 3
      let own = entropy(before[k][0].values)
      let other = entropy(before[giver][0].values)
      let alpha = 0.4 / Double.pi * atan(500 * (own - other)) + 0.5
      #expect(abs(report.layers[0].networks[k].alpha - alpha) < 1e-7)
      #expect(report.layers[0].networks[k].source == giver)
      for (index, tensor) in networks[k].enumerated() {
        let pairs = zip(before[k][index].values, before[giver][index].values)
        let expected = pairs.map { alpha * Double($0) + (1 - alpha) * Double($1) }
        #expect(zip(tensor.values, expected).allSatisfy { abs(Double($0) - $1) < 1e-6 })
      }
    }
    #expect(before[0][0].values != networks[0][0].values, "copies are values of their own")
  }

  @Test func twoNetworksComeOutEqual() throws {
    var networks = try [network(0), network(2)]
    try graft(&networks)
    for index in networks[0].indices {
      #expect(networks[0][index].values == networks[1][index].values)
    }
  }

  @Test func plansAndSettings() throws {
    let before = try [network(0), network(1)]
    var plan = GraftPlan(before[0])
    #expect(plan.entries.map(\.role) == [.layer, .follows(0), .follows(0)])
    try plan.set(2, to: .leave)
    var settings = GraftOperator()
    settings.weighting = .constant(0)
    settings.period = Period(start: 2, every: 3)
    #expect((1...8).filter { settings.period.isDue(after: $0) } == [2, 5, 8])
    var networks = before
    try graft(&networks, plan: plan, with: settings)
    #expect(networks[0][0].values == before[1][0].values)
    #expect(networks[0][2].values == before[0][2].values)
    #expect("\(plan)".contains("2  fc.weight    leave    given"))
  }

  @Test func aDryRunWritesNothing() throws {
    let before = try [network(0), network(1)]
    var networks = before
    let dry = try graft(&networks, dryRun: true)
    #expect(networks[0][0].values == before[0][0].values)
    let real = try graft(&networks)
    #expect(dry.layers[0].networks == real.layers[0].networks)
    #expect("\(real)".split(separator: "\n").count == 3)
  }

  @Test func errorsNameWhatWasWrong() throws {
    var networks = try [network(0), network(1)]
    let before = networks
    _ = try networks[1][1].withUnsafeMutableBufferPointer { $0[3] = .nan }
    #expect(throws: GraftError.self) { try graft(&networks) }
    #expect(networks[0][0].values == before[0][0].values)
    #expect(before[1][1].values.allSatisfy { $0.isFinite }, "a change stays in its own copy")
    do {
      try graft(&networks)
    } catch {
      #expect(error.kind == .notFinite)
      #expect(error.message.contains("networks[1]: bn.weight") && error.message.contains("[3]"))
    }
    #expect(throws: GraftError.self) { try Tensor("w", shape: [2, 3], values: [1]) }
    #expect(throws: GraftError.self) { try Tensor("w", shape: [-2, 3]) }
    #expect(throws: GraftError.self) { try Tensor("w", shape: [Int.max, 3]) }
    #expect(throws: GraftError.self) { try Tensor("w", shape: [0, 3]).entropy() }
    #expect(throws: GraftError.self) { try before[0][0].entropy(bins: 0) }
    #expect(throws: GraftError.self) { try coefficient(own: .nan, other: 1) }
    var none: [[Tensor]] = []
    #expect(throws: GraftError.self) { try graft(&none) }
  }

  @Test func blendAndDistillation() throws {
    var mine = try Tensor("mine", shape: [2], values: [1, 2])
    let copy = mine
    try mine.blend(with: Tensor("other", shape: [2], values: [3, -2]), alpha: 0.75)
    #expect(mine.values == [1.5, 1])
    #expect(copy.values == [1, 2])

    // One row, two classes: softmax of (0, ln 3) at temperature 1 is (1/4, 3/4).
    let student = try Tensor("student", shape: [1, 2], values: [0, 0])
    let teacher = try Tensor("teacher", shape: [1, 2], values: [0, Float(log(3.0))])
    let (loss, gradient) = try distillationLoss(
      student: student, teachers: [teacher], labels: [0], temperature: 1)
    let divergence = 0.25 * log(0.25 / 0.5) + 0.75 * log(0.75 / 0.5)
    #expect(abs(loss - (log(2) + divergence)) < 1e-6)
    let expected: [Float] = [-0.5 + 0.25, 0.5 - 0.25]
    #expect(zip(gradient.values, expected).allSatisfy { abs($0 - $1) < 1e-6 })
    #expect(throws: GraftError.self) {
      try distillationLoss(student: student, teachers: [], labels: [2])
    }
  }
}
