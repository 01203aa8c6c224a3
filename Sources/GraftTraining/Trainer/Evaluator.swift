import GraftNetworks
import GraftSupport
import Grafting

/// Runs networks over a data set in evaluation mode.
final class Evaluator {
  private let dataset: Dataset
  private let batchSize: Int
  private let samples: Buffer<Int64>
  private let labels: Buffer<Int64>

  init(dataset: Dataset, batchSize: Int) throws(GraftError) {
    self.dataset = dataset
    self.batchSize = min(batchSize, dataset.count)
    samples = try Buffer(count: dataset.count, for: "the order of evaluation")
    labels = try Buffer(count: self.batchSize, for: "a batch's labels")
    for index in 0..<dataset.count { samples[index] = Int64(index) }
  }

  var batches: Int { (dataset.count + batchSize - 1) / batchSize }

  /// - Parameters:
  ///   - average: evaluated in the network's place, if given; whenever `afterBatch` is called, the
  ///     network's own weights are back.
  ///   - afterBatch: told the number of batches done; may throw to stop.
  func evaluate(
    _ network: Network, average: WeightAverage? = nil, threads: Int,
    afterBatch: (Int) throws(GraftError) -> Void = { _ in }
  ) throws(GraftError) -> Evaluation {
    network.threads = threads
    let classes = try network.checkFits(dataset)
    var (loss, hits) = (0.0, Hits())
    for batch in 0..<batches {
      let measured: (loss: Double, hits: Hits)
      if let average {
        measured = try average.inPlace { () throws(GraftError) in
          try measure(batch, of: network, classes: classes)
        }
      } else {
        measured = try measure(batch, of: network, classes: classes)
      }
      loss += measured.loss
      hits += measured.hits
      try afterBatch(batch + 1)
    }
    return Evaluation(loss: loss, hits: hits, images: dataset.count)
  }

  /// The sums of one batch.
  private func measure(_ batch: Int, of network: Network, classes: Int) throws(GraftError) -> (
    loss: Double, hits: Hits
  ) {
    let first = batch * batchSize
    let count = min(batchSize, dataset.count - first)
    let place = try network.begin(images: count, training: false)
    try dataset.fill(
      images: place, labels: labels.pointer, samples: samples.pointer + first, count: count,
      threads: network.threads)
    let logits = try network.run()
    let view = try TensorView(
      name: "logits", data: UnsafeMutableRawPointer(mutating: logits), type: .float32,
      shape: [count, classes])
    var loss = Distillation()
    loss.threads = network.threads
    return (
      try loss.loss(student: view, teachers: [], labels: labels.pointer) * Double(count),
      Hits(logits, labels.pointer, count: count, classes: classes)
    )
  }
}

extension Dataset {
  /// The shape of its images.
  var imageShape: ImageShape { ImageShape(channels: channels, height: height, width: width) }
}

extension Network {
  /// Checks that the network takes a data set's images and gives a logit for each of its classes.
  ///
  /// - Parameter name: what messages call it.
  /// - Returns: the number of logits.
  func checkFits(_ dataset: Dataset, _ name: String = "network") throws(GraftError) -> Int {
    let images = dataset.imageShape
    guard inputShape == images else {
      throw GraftError(
        .shapeMismatch, "\(name) takes images of \(inputShape), and the data set has \(images)")
    }
    let output = try outputShape
    guard output.pixels == 1, output.channels >= dataset.classes else {
      throw GraftError(
        .shapeMismatch,
        "\(name) puts out \(output), and the data set has \(dataset.classes) classes")
    }
    return output.channels
  }
}

/// Loss and accuracy of a network on a data set, in evaluation mode.
public func evaluate(_ network: Network, on dataset: Dataset, batchSize: Int = 256)
  throws(GraftError) -> Evaluation
{
  let threads = network.threads
  return try Evaluator(dataset: dataset, batchSize: batchSize).evaluate(network, threads: threads)
}
