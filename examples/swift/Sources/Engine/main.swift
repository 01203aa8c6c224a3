// Builds a network of one's own in the library's engine and trains it, from Swift.
//
//   make build       (installs the C libraries that Graft is built from)
//   swift run --package-path examples/swift Engine
import Graft

let network = try Network(input: ImageShape(channels: 1, height: 8, width: 8))
var x = try network.convolution("conv", network.input, Convolution(filters: 4, padding: .init(1)))
x = try network.concatenation([try network.relu(try network.batchNorm("norm", x)), network.input])
x = try network.linear("head", try network.globalPool(x), features: 2)
try network.finish(output: x, seed: 1)
let images = try Tensor("images", shape: [2, 1, 8, 8])
print(try network.forward(images).shape, try network.features(images).shape)

/// Images of lines: class 0 across, class 1 upright.
func lines(_ count: Int) throws -> (images: Tensor, labels: [Int]) {
  var values = [Float](repeating: 0, count: count * 64)
  let labels = (0..<count).map { $0 % 2 }
  for (image, label) in labels.enumerated() {
    for step in 0..<8 {
      let (row, column) = label == 0 ? (image / 2 % 8, step) : (step, image / 2 % 8)
      values[image * 64 + row * 8 + column] = 1
    }
  }
  return (try Tensor("images", shape: [count, 1, 8, 8], values: values), labels)
}

let (batch, labels) = try lines(16)
var settings = SGD.Settings()
settings.weightDecay = 0
let sgd = try SGD(network: network, settings: settings, learningRate: 0.3)
for step in 1...100 {
  let logits = try network.forward(batch, training: true)
  let (loss, gradient) = try distillationLoss(student: logits, teachers: [], labels: labels)
  try network.backward(gradient)
  try sgd.step()
  if step == 1 || step == 100 { print("step \(step): loss \(loss)") }
}
let predict = try Predictor(network)
let logits = try predict(batch).values
let right = labels.indices.filter { logits[2 * $0 + labels[$0]] > logits[2 * $0 + 1 - labels[$0]] }
print("\(right.count) of \(labels.count) right")
