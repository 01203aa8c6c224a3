import GraftSupport

/// The operations of a forward pass, and where their values lie: a value's memory is another's as
/// soon as nobody reads it any more.
struct ForwardSteps {
  private(set) var operations: [any Operation] = []
  let input: Storage
  private(set) var output: Storage
  /// Floats for one image of every piece of memory that values share.
  private(set) var slots: [Int] = []
  /// Which piece each storage but the input's and the output's has.
  private(set) var places: [(storage: Storage, slot: Int)] = []

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
    share()
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

  /// Gives every value a piece of memory that is free while it lives, the one that fits best.
  private mutating func share() {
    var last: [ObjectIdentifier: Int] = [:]
    for (step, storages) in reads.enumerated() {
      for storage in storages { last[ObjectIdentifier(storage)] = step }
    }
    var free: [Int] = []
    var taken: [ObjectIdentifier: Int] = [:]
    for step in operations.indices {
      let storage = writes[step]
      if storage !== output {
        let need = storage.shape.count
        let fits = free.filter { slots[$0] >= need }.min { slots[$0] < slots[$1] }
        let slot: Int
        if let found = fits ?? free.max(by: { slots[$0] < slots[$1] }) {
          slot = found
          slots[slot] = max(slots[slot], need)
          free.removeAll { $0 == slot }
        } else {
          slot = slots.count
          slots.append(need)
        }
        places.append((storage, slot))
        taken[ObjectIdentifier(storage)] = slot
      }
      for read in reads[step] + [storage]
      where (last[ObjectIdentifier(read)] ?? step) == step {
        if let slot = taken.removeValue(forKey: ObjectIdentifier(read)) { free.append(slot) }
      }
    }
  }
}
