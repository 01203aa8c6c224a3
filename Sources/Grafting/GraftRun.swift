import GraftKernels
import GraftSupport

/// One graft on its way: first everything is measured and checked, then mixed. No copy of a network
/// is made: the kernel computes all results of a few elements before it writes one of them.
struct GraftRun {
  let settings: GraftOperator
  let networks: [[TensorView]]
  let plan: GraftPlan
  let tied: Set<Int>
  /// Whether anybody reads what the report says of the time after.
  let measuresResult: Bool
  let counting: Counting
  private let filterCoefficients: FilterCoefficients?
  /// For each tensor that is a layer, its place in the report.
  private(set) var layerIndex: [Int: Int] = [:]
  /// For each layer its networks' measurements, where filters are to be told apart again.
  private(set) var measurements: [Int: [Measurement]] = [:]
  var report: GraftReport

  init(
    settings: GraftOperator, networks: [[TensorView]], plan: GraftPlan, tied: Set<Int>,
    measuresResult: Bool
  ) throws(GraftError) {
    self.settings = settings
    self.networks = networks
    self.plan = plan
    self.tied = tied
    self.measuresResult = measuresResult
    counting = try Counting(
      bins: settings.bins, compatibility: settings.compatibility, threads: settings.threads)
    filterCoefficients =
      settings.weighting == .filter && !settings.source.isWithin
      ? FilterCoefficients(networks, plan) {
        settings.source.shares(for: $0, of: networks.count, step: settings.step)
      } : nil
    report = GraftReport(layers: [], networkCount: networks.count)
  }

  var indices: Range<Int> { networks.indices }

  func filters(_ tensor: TensorView, _ index: Int) -> gk_weights {
    tensor.filterView(axis: plan.entries[index].filterAxis)
  }

  // MARK: Information

  /// Measures every tensor of every network, checks that all is finite, and decides each layer's
  /// coefficients.
  mutating func measure() throws(GraftError) {
    for index in plan.entries.indices { _ = try filterCoefficients?.place(of: index) }
    let survey = Survey(counting)
    for (index, entry) in plan.entries.enumerated() where isGrafted(index) {
      for k in indices {
        let tensor = networks[k][index]
        _ =
          entry.role == .layer
          ? try survey.add(filters: filters(tensor, index), whole: tensor.wholeView())
          : try survey.add(filters: tensor.wholeView())
      }
    }
    survey.run()
    var place = 0
    for (index, entry) in plan.entries.enumerated() where isGrafted(index) {
      for k in indices where !survey.measurements[place + k].isFinite {
        throw networks[k][index].notFiniteError("networks[\(k)]: \(plan.named(index))")
      }
      if entry.role == .layer { try decide(index, survey, from: place) }
      place += networks.count
    }
  }

  /// Whether tensor `index` takes part, and has anything in it.
  private func isGrafted(_ index: Int) -> Bool {
    plan.entries[index].role != .leave && networks[0][index].count > 0
  }

  /// The coefficients of layer `index`, whose networks lie in the survey from `place` on.
  private mutating func decide(_ index: Int, _ survey: Survey, from place: Int)
    throws(GraftError)
  {
    let known = try information(of: index, survey, from: place)
    var means: [Double] = []
    if let filterCoefficients {
      let place = try filterCoefficients.place(of: index)
      for k in indices { means.append(try filterCoefficients.mean(place, network: k)) }
    }
    let entries = indices.map { k in
      let shares = self.shares(for: k)
      let other = shares.reduce(0) { $0 + $1.weight * known[$1.network] }
      let (measurement, entropy) = (survey.measurements[place + k], survey.entropy(place + k))
      let alpha =
        settings.source.isWithin
        ? 1
        : settings.weighting.coefficient(
          own: known[k], other: other, compatibility: settings.compatibility
        ).alpha
      let invalid = measurement.invalidFilters(under: settings.threshold)
      return GraftReport.Entry(
        source: shares.first?.network ?? k, alpha: means.isEmpty ? alpha : means[k],
        entropyBefore: entropy, entropyAfter: entropy, filters: measurement.filters, invalidBefore: invalid,
        invalidAfter: invalid, normBefore: measurement.meanNorm, normAfter: measurement.meanNorm)
    }
    if settings.source.isWithin {
      measurements[index] = indices.map { survey.measurements[place + $0] }
    }
    layerIndex[index] = report.layers.count
    report.layers.append(
      .init(name: plan.entries[index].name, tensor: index, networks: entries))
  }

  /// What every network's layer `index` knows, as the weighting measures it.
  private func information(of index: Int, _ survey: Survey, from place: Int) throws(GraftError)
    -> [Double]
  {
    switch settings.weighting {
    case .entropy, .constant, .filter: return indices.map { survey.entropy(place + $0) }
    case .l1: return indices.map { survey.measurements[place + $0].result.norm }
    case .filterEntropy:
      var measures = Information()
      measures.bins = settings.bins
      measures.compatibility = settings.compatibility
      measures.filterAxis = plan.entries[index].filterAxis
      measures.threads = settings.threads
      var sums: [Double] = []
      for k in indices {
        let entropies = try measures.filterEntropies(of: networks[k][index])
        sums.append((0..<entropies.count).reduce(0) { $0 + entropies[$1] })
      }
      return sums
    }
  }

  private func shares(for receiver: Int) -> [Source.Share] {
    settings.source.shares(for: receiver, of: networks.count, step: settings.step)
  }

  // MARK: The blend

  /// Writes what every tensor comes to, and reports it.
  mutating func mix() throws(GraftError) {
    let batch = MixBatch(networks: networks.count, counting, countsUnmoved: measuresResult)
    let again = Survey(counting)
    var results: [(rows: [MixRow], layer: Int, place: Int)] = []
    var added: [Int] = []
    var tiedResults: [(row: MixRow, layer: Int, place: Int)] = []
    // From the end: what was measured last may still be in the cache.
    for index in plan.entries.indices.reversed() {
      let (rows, scales) = try rowsOfTensor(index)
      if rows.isEmpty { continue }
      let layer = measuresResult ? layerIndex[index] : nil
      if tied.contains(index) {  // written where it was met first, so it is only read
        for row in rows {
          guard let layer else { break }
          let tensor = networks[row.targets[0]][index]
          let place = try again.add(filters: filters(tensor, index), whole: tensor.wholeView())
          tiedResults.append((row, layer, place))
        }
        continue
      }
      let views = networks.map {
        layerIndex[index] == nil && scales == nil
          ? $0[index].wholeView() : filters($0[index], index)
      }
      let written = layer.map { _ in rows.map { networks[$0.targets[0]][index].wholeView() } }
      let place = try batch.add(
        from: views, to: views, rows: rows, written: written, keepsZeros: keepsZeros(index),
        scales: scales)
      added.append(index)
      if let layer { results.append((rows, layer, place)) }
    }
    try batch.prepare()
    // Nothing can fail from here on.
    batch.run()
    again.run()
    for (item, index) in added.enumerated() { recordUnmoved(batch, item, of: index) }
    for (rows, layer, place) in results {
      for (r, row) in rows.enumerated() {
        let result = batch.result(place + r)
        record(result.measurement, result.entropy, layer: layer, for: row.targets)
      }
    }
    for (row, layer, place) in tiedResults {
      record(again.measurements[place], again.entropy(place), layer: layer, for: row.targets)
    }
  }

  /// Reports what `mix` would, and writes nothing: one result of one layer at a time, in a buffer.
  mutating func tryMix() throws(GraftError) {
    // What follows a layer is tried only where something of it may not move.
    let tried = plan.entries.indices.filter {
      layerIndex[$0] != nil || (isGrafted($0) && networks[0][$0].isHalf)
    }
    let largest = tried.map { networks[0][$0].count * networks[0][$0].type.size }.max() ?? 0
    let trial = try Buffer<UInt8>(count: largest, for: "a dry run")
    for index in tried {
      let layer = layerIndex[index]
      let place = try TensorView(placing: networks[0][index], at: trial.pointer)
      let (rows, scales) = try rowsOfTensor(index)
      for (at, row) in rows.enumerated() {
        let batch = MixBatch(networks: networks.count, counting)
        let result = try batch.add(
          from: networks.map { filters($0[index], index) }, to: [filters(place, index)],
          rows: [row.with(targets: row.receivers.map { _ in 0 })],
          written: layer == nil ? nil : [place.wholeView()], keepsZeros: keepsZeros(index),
          scales: scales.map { [$0[at]] })
        try batch.prepare()
        batch.run()
        if !tied.contains(index) { recordUnmoved(batch, 0, of: index) }
        guard let layer else { continue }
        let (measurement, entropy) = (
          batch.result(result).measurement, batch.result(result).entropy
        )
        record(measurement, entropy, layer: layer, for: row.receivers)
      }
    }
  }

  /// The distinct results of tensor `index` that are not simply what is there already.
  private func rowsOfTensor(_ index: Int) throws(GraftError)
    -> (rows: [MixRow], scales: [RowScales]?)
  {
    guard isGrafted(index) else { return ([], nil) }
    var rows: [MixRow] = []
    if let filterCoefficients, let place = try filterCoefficients.place(of: index) {
      var scales: [RowScales] = []
      for k in indices {
        let row = MixRow(receiver: k, shares: shares(for: k))
        if row.changesNothing { continue }
        rows.append(row)
        scales.append(try filterCoefficients.scales(place, network: k))
      }
      return (rows, scales)
    }
    for k in indices {
      let coefficient: Coefficient
      if filterCoefficients == nil, let layer = layerIndex[plan.feeder(of: index)] {
        coefficient = Coefficient(exactly: report.layers[layer].networks[k].alpha)
      } else {
        coefficient = settings.weighting.withoutLayer
      }
      let row = MixRow(receiver: k, coefficient: coefficient, shares: shares(for: k))
      if row.changesNothing { continue }
      if !keepsZeros(index), let same = rows.firstIndex(where: { $0.hasSameTerms(as: row) }) {
        rows[same].add(k)
      } else {
        rows.append(row)
      }
    }
    return (rows, nil)
  }

  /// Adds what did not move of tensor `index` to the layer that it is or follows.
  private mutating func recordUnmoved(_ batch: MixBatch, _ item: Int, of index: Int) {
    guard networks[0][index].isHalf, let layer = layerIndex[plan.feeder(of: index)] else { return }
    for k in indices { report.layers[layer].networks[k].unmoved += batch.unmoved(item, k) }
  }

  func keepsZeros(_ index: Int) -> Bool {
    settings.keepZeros && plan.entries[index].rank > 1
  }

  mutating func record(
    _ measurement: Measurement, _ entropy: Double, layer: Int, for targets: [Int]
  ) {
    let invalid = measurement.invalidFilters(under: settings.threshold)
    for k in targets {
      report.layers[layer].networks[k].entropyAfter = entropy
      report.layers[layer].networks[k].invalidAfter = invalid
      report.layers[layer].networks[k].normAfter = measurement.meanNorm
    }
  }
}
