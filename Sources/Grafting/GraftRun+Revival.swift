import GraftKernels
import GraftSupport

extension GraftRun {
  /// Adds to invalid filters what their own layer, or noise, gives them; and reports it.
  mutating func revive(dryRun: Bool) throws(GraftError) {
    let scratch = try MixBatch.scratch(networks: 2, counting)
    var noise: Noise?
    if case .noise(let base, let seed) = settings.source {
      let most = measurements.map { index, measured in
        let most = measured.map { $0.invalidFilters(under: settings.threshold) }.max() ?? 0
        return most * (networks[0][index].count / max(measured[0].filters, 1))
      }
      noise = try Noise(
        base: base, seed: seed, step: settings.step, count: most.max() ?? 0)
    }
    let run = self
    func revival(_ index: Int, _ k: Int, _ tensor: TensorView) throws(GraftError) -> Revival {
      guard let measured = run.measurements[index]?[k] else {
        throw GraftError(.internal, "\(run.plan.named(index)) was not measured")
      }
      do throws(GraftError) {
        return try Revival(
          of: run.filters(tensor, index), type: tensor.type, measured: measured,
          threshold: run.settings.threshold, noise: noise, keepsZeros: run.keepsZeros(index),
          counting: run.counting, scratch: scratch)
      } catch {
        throw GraftError(error.kind, "networks[\(k)]: \(run.plan.named(index)): \(error.message)")
      }
    }
    let layers = layerIndex.sorted { $0.key < $1.key }
    if dryRun { try tryRevivals(layers, revival) } else { try runRevivals(layers, revival) }
  }

  private typealias Layers = [(key: Int, value: Int)]
  private typealias Describe = (Int, Int, TensorView) throws(GraftError) -> Revival

  private mutating func runRevivals(_ layers: Layers, _ revival: Describe) throws(GraftError) {
    let again = Survey(counting)
    var revivals: [(revival: Revival, index: Int, layer: Int, network: Int)] = []
    for (index, layer) in layers {
      for k in indices {
        let tensor = networks[k][index]
        _ = try again.add(filters: filters(tensor, index), whole: tensor.wholeView())
        if tied.contains(index) { continue }
        revivals.append((try revival(index, k, tensor), index, layer, k))
      }
    }
    // Nothing can fail from here on.
    for (revival, index, layer, k) in revivals {
      report.layers[layer].networks[k].unmoved = revival.run(
        step: settings.step, network: k, tensor: index)
    }
    again.run()
    for (at, (_, layer)) in layers.enumerated() {
      for k in indices {
        let place = at * networks.count + k
        record(again.measurements[place], again.entropy(place), layer: layer, for: [k])
      }
    }
  }

  /// On a copy of one layer at a time.
  private mutating func tryRevivals(_ layers: Layers, _ revival: Describe) throws(GraftError) {
    let largest = layers.map { networks[0][$0.key].count * networks[0][$0.key].type.size }.max()
    let trial = try Buffer<UInt8>(count: largest ?? 0, for: "a dry run")
    for (index, layer) in layers {
      for k in indices {
        let (tensor, copying) = (networks[k][index], MixBatch(networks: 1, counting))
        let place = try TensorView(placing: tensor, at: trial.pointer)
        try copying.add(
          from: [filters(tensor, index)], to: [filters(place, index)], rows: [.copy],
          written: nil)
        try copying.prepare()
        copying.run()
        // A tied tensor shows what was done to the one that it is.
        let first = tied.contains(index) ? firstOfTied(index) : index
        let unmoved = try revival(first, k, place).run(
          step: settings.step, network: k, tensor: first)
        if first == index { report.layers[layer].networks[k].unmoved = unmoved }
        let again = Survey(counting)
        _ = try again.add(filters: filters(place, index), whole: place.wholeView())
        again.run()
        record(again.measurements[0], again.entropy(0), layer: layer, for: [k])
      }
    }
  }

  /// The layer that tied tensor `index` is the same memory as.
  private func firstOfTied(_ index: Int) -> Int {
    layerIndex.keys.filter { networks[0][$0].data == networks[0][index].data }.min() ?? index
  }
}
