import GraftKernels
import GraftSupport

/// One graft on its way: first everything is measured and checked, then tensor after tensor is
/// mixed. No copy of a network is made: the kernel computes all results of a few elements before it
/// writes one of them.
struct GraftRun {
  private let settings: GraftOperator
  private let networks: [[TensorView]]
  private let plan: GraftPlan
  private let tied: Set<Int>
  private let histogram: Histogram
  /// For each tensor that is a layer, its place in the report.
  private var layerIndex: [Int: Int] = [:]
  private(set) var report: GraftReport

  init(
    settings: GraftOperator, networks: [[TensorView]], plan: GraftPlan, tied: Set<Int>
  ) throws(GraftError) {
    self.settings = settings
    self.networks = networks
    self.plan = plan
    self.tied = tied
    histogram = try Histogram(
      bins: settings.bins, compatibility: settings.compatibility, threads: settings.threads)
    report = GraftReport(layers: [], networkCount: networks.count)
  }

  private var indices: Range<Int> { networks.indices }

  // MARK: Information

  /// Measures every tensor of every network, checks that all is finite, and decides each layer's
  /// coefficients.
  mutating func measure() throws(GraftError) {
    for (index, entry) in plan.entries.enumerated() {
      switch entry.role {
      case .leave: break
      case .layer: try measureLayer(index, axis: entry.filterAxis)
      case .follows, .half:
        for k in indices where networks[k][index].count > 0 {
          try checkFinite(try measured(networks[k][index].wholeView()), index, k)
        }
      }
    }
  }

  private mutating func measureLayer(_ index: Int, axis: Int) throws(GraftError) {
    var before: [(measurement: Measurement, entropy: Double)] = []
    for k in indices {
      let tensor = networks[k][index]
      let measurement = try measured(tensor.filterView(axis: axis))
      try checkFinite(measurement, index, k)
      let entropy = histogram.entropy(
        of: tensor.wholeView(), low: measurement.result.low, high: measurement.result.high)
      before.append((measurement, entropy))
    }
    let entries = indices.map { k in
      let shares = settings.source.shares(for: k, of: networks.count)
      let other = shares.reduce(0) { $0 + $1.weight * before[$1.network].entropy }
      let (measurement, entropy) = before[k]
      let alpha = settings.weighting.coefficient(
        own: entropy, other: other, compatibility: settings.compatibility
      ).alpha
      let invalid = measurement.invalidFilters(under: settings.threshold)
      return GraftReport.Entry(
        source: shares.first?.network ?? k, alpha: alpha, entropyBefore: entropy,
        entropyAfter: entropy, filters: measurement.filters, invalidBefore: invalid,
        invalidAfter: invalid, normBefore: measurement.meanNorm, normAfter: measurement.meanNorm)
    }
    layerIndex[index] = report.layers.count
    report.layers.append(
      .init(name: plan.entries[index].name, tensor: index, networks: entries))
  }

  private func measured(_ view: gk_weights) throws(GraftError) -> Measurement {
    let measurement = try Measurement(view)
    measurement.measure(threads: settings.threads)
    return measurement
  }

  private func checkFinite(_ measurement: Measurement, _ index: Int, _ k: Int)
    throws(GraftError)
  {
    guard measurement.isFinite else {
      throw networks[k][index].notFiniteError("networks[\(k)]: \(plan.named(index))")
    }
  }

  // MARK: The blend

  /// Computes what every tensor comes to, and writes it unless `dryRun`.
  mutating func mix(dryRun: Bool) throws(GraftError) {
    let rows = (0..<plan.entries.count).map { rowsOfTensor($0) }
    let mixer = try Mixer(
      networks: networks.count, rows: rows.map(\.count).max() ?? 0, threads: settings.threads)
    // What could fail for want of memory comes before the first write.
    var after: [Int: [Measurement]] = [:]
    for (index, layer) in layerIndex {
      let view = networks[0][index].filterView(axis: plan.entries[index].filterAxis)
      var measurements: [Measurement] = []
      for _ in rows[index] { measurements.append(try Measurement(view)) }
      after[layer] = measurements
    }
    let trial = try dryRun ? trialBuffer() : nil
    // From the end: what was measured last may still be in the cache.
    for index in plan.entries.indices.reversed() where !rows[index].isEmpty {
      if tied.contains(index) && !dryRun { continue }
      let entry = plan.entries[index]
      let layer = layerIndex[index]
      if dryRun && layer == nil { continue }
      let views = networks.map {
        layer == nil ? $0[index].wholeView() : $0[index].filterView(axis: entry.filterAxis)
      }
      let results = layer.flatMap { after[$0] } ?? []
      if let trial {
        for (row, result) in zip(rows[index], results) {
          let place = try TensorView(placing: networks[0][index], at: trial.pointer)
          let view = place.filterView(axis: entry.filterAxis)
          mixer.mix(from: views, to: [view], rows: [row.with(targets: [0])], results: [result])
          record(result, of: place, layer: layer, for: row.targets)
        }
        continue
      }
      mixer.mix(from: views, to: views, rows: rows[index], results: results)
      for (row, result) in zip(rows[index], results) {
        record(result, of: networks[row.targets[0]][index], layer: layer, for: row.targets)
      }
    }
    for index in tied where !dryRun {  // written where it was met first
      for (row, result) in zip(rows[index], layerIndex[index].flatMap { after[$0] } ?? []) {
        let tensor = networks[row.targets[0]][index]
        result.measure(
          tensor.filterView(axis: plan.entries[index].filterAxis), threads: settings.threads)
        record(result, of: tensor, layer: layerIndex[index], for: row.targets)
      }
    }
  }

  /// The distinct results of tensor `index` that are not simply what is there already.
  private func rowsOfTensor(_ index: Int) -> [MixRow] {
    var rows: [MixRow] = []
    guard plan.entries[index].role != .leave, networks[0][index].count > 0 else { return [] }
    for k in indices {
      let coefficient: Coefficient
      if let layer = layerIndex[plan.feeder(of: index)] {
        coefficient = Coefficient(exactly: report.layers[layer].networks[k].alpha)
      } else {
        coefficient = settings.weighting.withoutLayer
      }
      let shares = settings.source.shares(for: k, of: networks.count)
      let row = MixRow(receiver: k, coefficient: coefficient, shares: shares)
      if row.changesNothing { continue }
      if let same = rows.firstIndex(where: { $0.hasSameTerms(as: row) }) {
        rows[same].targets.append(k)
      } else {
        rows.append(row)
      }
    }
    return rows
  }

  /// Room for the largest layer.
  private func trialBuffer() throws(GraftError) -> Buffer<Float> {
    let largest = layerIndex.keys.map { networks[0][$0].count }.max() ?? 0
    return try Buffer(count: largest, for: "a dry run")
  }

  private mutating func record(
    _ result: Measurement, of tensor: TensorView, layer: Int?, for targets: [Int]
  ) {
    guard let layer else { return }
    let entropy = histogram.entropy(
      of: tensor.wholeView(), low: result.result.low, high: result.result.high)
    let invalid = result.invalidFilters(under: settings.threshold)
    for k in targets {
      report.layers[layer].networks[k].entropyAfter = entropy
      report.layers[layer].networks[k].invalidAfter = invalid
      report.layers[layer].networks[k].normAfter = result.meanNorm
    }
  }
}
