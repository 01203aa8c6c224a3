import Glibc
import Graft
import Testing

/// The engine from Swift: a network of one's own, against numbers worked out by hand.
@Suite struct NetworkTests {
  /// Two branches, joined along their channels, and a residual sum, found again by their names.
  private func network() throws -> Network {
    let network = try Network(input: ImageShape(channels: 1, height: 2, width: 2))
    let a = try network.convolution("a", network.input, Convolution(filters: 2, kernel: .init(1)))
    let joined = try network.concatenation([try network.relu(a), network.input])
    try network.label(joined, "joined")
    let sum = try network.sum(joined, joined)
    try network.label(sum, "sum")
    let dropped = try network.dropout(try network.globalPool(sum), probability: 0.5)
    let output = try network.linear("head", dropped, features: 1, bias: false)
    try network.finish(output: output, seed: 7)
    try network.setWeights([
      Tensor("a.weight", shape: [2, 1, 1, 1], values: [2, -1]),
      Tensor("head.weight", shape: [1, 3], values: [1, 10, 100]),
    ])
    return network
  }

  private let images = try! Tensor("images", shape: [1, 1, 2, 2], values: [1, -2, 3, -4])

  @Test func joinsAndFeatures() throws {
    let network = try network()
    let joined = try network.features(images, at: try network.value(named: "joined"))
    #expect(joined.shape == [1, 3, 2, 2])
    #expect(joined.values == [2, 0, 6, 0, 0, 2, 0, 4, 1, -2, 3, -4])
    let sum = try network.features(images, at: try network.value(named: "sum"))
    #expect(sum.values == joined.values.map { 2 * $0 })
    // Means of the sum: 4, 3, -1.
    #expect(try network.features(images).values == [4, 3, -1])
    #expect(try network.forward(images).values == [-66 as Float])
    #expect(try network.infer(images).values == [-66 as Float])
    let kinds = network.operations.map(\.kind)
    #expect(
      kinds == [
        .input, .convolution, .rectifier, .concatenation, .sum, .globalPool, .dropout, .linear,
      ])
    #expect(network.operations[3].name == "joined")
    #expect(network.operations[6].probability == 0.5)
  }

  @Test func dropoutInTraining() throws {
    let network = try network()
    var seen: Set<Float> = []
    for _ in 0..<40 {
      let value = try network.forward(images, training: true).values[0]
      seen.insert(value)
      try network.backward(try Tensor("gradient", shape: [1, 1], values: [1]))
      let head = try #require(network.gradients.last)
      // d/d head is the dropped features: each twice its value, or 0.
      for (gradient, feature) in zip(head.values, [4, 3, -1] as [Float]) {
        #expect(gradient == 0 || gradient == 2 * feature)
      }
    }
    #expect(seen.count > 4)  // of the 8 that there are
    network.randomness = Network.Randomness(seed: 1, step: 5)
    let once = try network.forward(images, training: true)
    network.randomness = Network.Randomness(seed: 1, step: 5)
    #expect(try network.forward(images, training: true).values == once.values)
  }

  @Test func trainingAndPrediction() throws {
    var settings = DenseNet()
    (settings.depth, settings.growth, settings.classes) = (10, 4, 2)
    settings.input = ImageShape(channels: 1, height: 8, width: 8)
    let network = try settings.makeNetwork(seed: 3)
    // Bright images and dark ones.
    let labels = (0..<16).map { $0 % 2 }
    let values = (0..<16 * 64).map { Float(labels[$0 / 64]) + Float($0 % 7) / 10 }
    let images = try Tensor("images", shape: [16, 1, 8, 8], values: values)
    let sgd = try SGD(network: network, settings: .init(), learningRate: 0.1)
    var losses: [Double] = []
    for _ in 0..<20 {
      let logits = try network.forward(images, training: true)
      let (loss, gradient) = try distillationLoss(student: logits, teachers: [], labels: labels)
      try network.backward(gradient)
      try sgd.step()
      losses.append(loss)
    }
    #expect(losses[19] < 0.2 * losses[0])
    let predict = try Predictor(network, threads: 2)
    let (ours, theirs) = (try predict(images).values, try network.forward(images).values)
    for (one, other) in zip(ours, theirs) { #expect(abs(one - other) < 1e-4) }
    try network.setWeights(try network.weights.map { try Tensor($0.name, shape: $0.shape) })
    #expect(try predict(images).values == ours)
  }

  @Test func whatCannotBe() throws {
    let network = try network()
    #expect(throws: GraftError.self) { try network.value(named: "nothing") }
    #expect(throws: GraftError.self) { try network.forward(Tensor("x", shape: [1, 2, 2, 2])) }
    #expect(throws: GraftError.self) { try network.setWeights([Tensor("b.weight", shape: [1])]) }
    #expect(throws: GraftError.self) {
      try network.setWeights([Tensor("head.weight", shape: [3, 1])])
    }
    #expect(throws: GraftError.self) { _ = try network.gradients }
  }
}
