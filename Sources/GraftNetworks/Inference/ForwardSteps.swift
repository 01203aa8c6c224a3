import GraftSupport

/// The operations of a forward pass, and how long values live: a value's memory is another's as
/// soon as nobody reads it any more.
struct ForwardSteps {
  private(set) var operations: [any Operation] = []
  let input: Storage
  private(set) var output: Storage
  /// Of all values but the input and the output, the larger first.
  private(set) var lives: [Life] = []

  private var reads: [[Storage]] = []
  private var writes: [Storage] = []

  init(_ graph: Graph, _ uses: GraphUses, output: Graph.Index, weights: ForwardWeights)
    throws(GraftError)
  {
    input = Storage(shape: graph.nodes[0].shape)
    self.output = input
    var values = [Value?](repeating: nil, count: graph.nodes.count)
    for index in graph.nodes.indices where uses.isNeeded[index] {
      try lower(index, graph, uses, weights, &values)
    }
    guard let result = values[output] else {
      throw GraftError(.internal, "the output is not computed")
    }
    // The output goes to the caller's memory, so it may not be the input's.
    self.output = (result.storage === input ? written(result) : plain(result)).storage
    findLives()
  }

  private mutating func append(_ operation: any Operation, reads: [Value], writes: Value) {
    operations.append(operation)
    self.reads.append(reads.map(\.storage))
    self.writes.append(writes.storage)
  }

  /// The value as numbers of its own.
  private mutating func plain(_ value: Value) -> Value { value.isPlain ? value : written(value) }

  private mutating func written(_ value: Value) -> Value {
    let numbers = Value(storage: Storage(shape: value.shape), carriesParameters: false)
    append(SumOperation(a: value, b: nil, output: numbers), reads: [value], writes: numbers)
    return numbers
  }

  private mutating func lower(
    _ index: Graph.Index, _ graph: Graph, _ uses: GraphUses, _ weights: ForwardWeights,
    _ values: inout [Value?]
  ) throws(GraftError) {
    let node = graph.nodes[index]
    var inputs: [Value] = []
    for input in node.inputs {
      guard let value = values[input] else {
        throw GraftError(.internal, "value \(input) is used before it is computed")
      }
      inputs.append(value)
    }
    func result() -> Value { Value(storage: Storage(shape: node.shape), carriesParameters: false) }
    func missing() -> GraftError { GraftError(.internal, "value \(index) has no weights") }

    switch node.layer {
    case .input: values[index] = Value(storage: input, carriesParameters: false)

    case .convolution:
      guard let packed = weights.convolutions[index] else { throw missing() }
      let value = result()
      append(
        ForwardConvolution(packed, input: inputs[0], output: value), reads: inputs, writes: value)
      values[index] = value

    case .batchNorm:
      if weights.folded.contains(index) {
        values[index] = inputs[0]
        return
      }
      guard let norm = weights.norms[index] else { throw missing() }
      values[index] = Value(
        storage: plain(inputs[0]).storage, norm: norm, carriesParameters: false)

    case .rectifier(let slope, let ceiling):
      if case .sum = graph.nodes[node.inputs[0]].layer, uses.soleRectifier(node.inputs[0]) != nil {
        values[index] = inputs[0]  // folded
        return
      }
      let source = inputs[0].slope == 1 ? inputs[0] : plain(inputs[0])
      values[index] = Value(
        storage: source.storage, norm: source.norm, slope: slope,
        ceiling: ceiling.isFinite ? ceiling : 0, carriesParameters: false)

    case .sum:
      let value = result()
      append(
        SumOperation(
          a: inputs[0], b: inputs[1], output: value, slope: uses.soleRectifier(index) ?? 1),
        reads: inputs, writes: value)
      values[index] = value

    case .shortcut(let stride, let firstChannel):
      let value = result()
      append(
        ShortcutOperation(
          stride: stride, firstChannel: firstChannel, input: inputs[0], output: value),
        reads: inputs, writes: value)
      values[index] = value

    case .pool(let pooling):
      let value = result()
      append(
        PoolOperation(pooling: pooling, input: inputs[0], output: value), reads: inputs,
        writes: value)
      values[index] = value

    case .globalPool:
      let value = result()
      append(GlobalPoolOperation(input: inputs[0], output: value), reads: inputs, writes: value)
      values[index] = value

    case .linear:
      guard let ordered = weights.linears[index] else { throw missing() }
      let (from, value) = (plain(inputs[0]), result())
      append(ForwardLinear(ordered, input: from, output: value), reads: [from], writes: value)
      values[index] = value

    case .concatenation:
      let value = result()
      append(
        try ConcatenationOperation(inputs: inputs, output: value, norms: []), reads: inputs,
        writes: value)
      values[index] = value

    case .dropout: values[index] = inputs[0]
    }
  }

  /// From where to where every value but the input and the output lives.
  private mutating func findLives() {
    var last: [ObjectIdentifier: Int] = [:]
    for (step, storages) in reads.enumerated() {
      for storage in storages { last[ObjectIdentifier(storage)] = step }
    }
    for (step, storage) in writes.enumerated() where storage !== output {
      lives.append(Life(storage: storage, steps: step...(last[ObjectIdentifier(storage)] ?? step)))
    }
    lives.sort { $0.storage.shape.count > $1.storage.shape.count }
  }
}

extension ForwardSteps {
  /// A value's place in memory that all share, by the steps that it is needed for.
  struct Life {
    let storage: Storage
    let steps: ClosedRange<Int>
  }

  /// Where the values of so many images lie in one piece of memory, and how many floats it has: the
  /// larger first, each as low as those allow that live at the same time.
  ///
  /// - Parameter scratch: how many floats every step needs for itself, at the beginning.
  func places(images: Int, scratch: [Int]) throws(GraftError) -> (starts: [Int], count: Int) {
    // Values of one size begin behind the scratch memory of all of them, so that one fits where
    // another was.
    var floors: [Int: Int] = [:]
    for life in lives {
      let floor = ((scratch[life.steps].max() ?? 0) + 15) / 16 * 16
      floors[life.storage.shape.count] = max(floor, floors[life.storage.shape.count] ?? 0)
    }
    var taken: [(steps: ClosedRange<Int>, floats: Range<Int>)] = []
    var starts: [Int] = []
    var count = scratch.max() ?? 0
    for life in lives {
      guard let size = product([life.storage.shape.count, images]), size < 1 << 56 else {
        throw GraftError(.outOfMemory, "\(images) images between the layers are too large")
      }
      var start = floors[life.storage.shape.count] ?? 0
      for other in taken where other.steps.overlaps(life.steps) {
        if start + size <= other.floats.lowerBound { break }
        start = max(start, other.floats.upperBound)
      }
      let end = start + (size + 15) / 16 * 16
      let place = taken.firstIndex { $0.floats.lowerBound > start } ?? taken.count
      taken.insert((life.steps, start..<end), at: place)
      starts.append(start)
      count = max(count, end)
    }
    return (starts, count)
  }
}
