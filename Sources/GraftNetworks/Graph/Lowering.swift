import GraftSupport

/// What a network runs: operations in order, from the input's storage to the output's.
struct Program {
  let operations: [any Operation]
  /// The graph's node that each operation was made for.
  let nodes: [Graph.Index]
  let input: Value
  let output: Value
  /// Every value that a backward pass may leave a gradient in.
  let values: [Value]
}

/// Turns a graph into operations. Batch norms and rectifiers become views of the storage they
/// follow, so that whoever reads it applies them; a rectifier that alone follows a sum is folded
/// into it.
struct Lowering {
  private let graph: Graph
  private var operations: [any Operation] = []
  private var nodes: [Graph.Index] = []
  private var values: [Value?]
  /// Views that were written out.
  private var written: [Value] = []
  private let uses: GraphUses

  static func program(of graph: Graph, output: Graph.Index) throws(GraftError) -> Program {
    var lowering = Lowering(graph, output: output)
    for index in graph.nodes.indices where lowering.uses.isNeeded[index] {
      try lowering.lower(index)
      lowering.count(to: index)
    }
    let result = try lowering.plain(output)
    lowering.count(to: output)
    guard let input = lowering.values[0] else {
      throw GraftError(.invalidArgument, "output does not depend on the network's input")
    }
    return Program(
      operations: lowering.operations, nodes: lowering.nodes, input: input, output: result,
      values: lowering.values.compactMap { $0 } + lowering.written)
  }

  /// The operations that are new were made for this node.
  private mutating func count(to node: Graph.Index) {
    nodes += [Graph.Index](repeating: node, count: operations.count - nodes.count)
  }

  private init(_ graph: Graph, output: Graph.Index) {
    self.graph = graph
    values = [Value?](repeating: nil, count: graph.nodes.count)
    uses = GraphUses(graph, output: output)
  }

  private func value(_ index: Graph.Index) throws(GraftError) -> Value {
    guard let value = values[index] else {
      throw GraftError(.internal, "value \(index) is used before it is computed")
    }
    return value
  }

  /// The value as numbers of its own, written out if it is a view.
  private mutating func plain(_ index: Graph.Index) throws(GraftError) -> Value {
    let value = try value(index)
    if value.isPlain { return value }
    let numbers = Value(
      storage: Storage(shape: value.shape), carriesParameters: value.carriesParameters)
    operations.append(SumOperation(a: value, b: nil, output: numbers))
    written.append(numbers)
    return numbers
  }

  private mutating func lower(_ index: Graph.Index) throws(GraftError) {
    let node = graph.nodes[index]
    func output(_ inputs: [Value], always: Bool = false) -> Value {
      Value(
        storage: Storage(shape: node.shape),
        carriesParameters: always || inputs.contains { $0.carriesParameters })
    }
    switch node.layer {
    case .input:
      values[index] = Value(storage: Storage(shape: node.shape), carriesParameters: false)

    case .convolution(let settings, let weight, let bias):
      let input = try value(node.inputs[0])
      let result = output([input], always: true)
      let norms = try normsReading(index)
      operations.append(
        ConvolutionOperation(
          settings: settings, weight: weight, bias: bias, input: input, output: result,
          norms: norms.map(\.norm), mayHalve: uses.mayBeHalf(index)))
      values[index] = result
      count(to: index)
      addNorms(norms, of: result)

    case .batchNorm(let tensors):
      if values[index] != nil { return }  // came with its convolution
      let input = try plain(node.inputs[0])
      let norm = try BatchNorm(tensors)
      let view = Value(storage: input.storage, norm: norm, carriesParameters: true)
      operations.append(
        BatchNormOperation(
          input: input, output: view, norm: norm, statisticsComeWithInput: false))
      values[index] = view

    case .rectifier(let slope, let ceiling):
      let input = try value(node.inputs[0])
      if case .sum = graph.nodes[node.inputs[0]].layer,
        uses.soleRectifier(node.inputs[0]) != nil
      {
        values[index] = input  // folded
        return
      }
      let source = input.slope == 1 ? input : try plain(node.inputs[0])
      let view = Value(
        storage: source.storage, norm: source.norm, slope: slope,
        ceiling: ceiling.isFinite ? ceiling : 0, carriesParameters: source.carriesParameters)
      operations.append(RectifierOperation(input: source, output: view))
      values[index] = view

    case .sum:
      let inputs = [try value(node.inputs[0]), try value(node.inputs[1])]
      let spent = node.inputs.first { isSpent($0, by: index) }
      let result = Value(
        storage: try spent.map { (input) throws(GraftError) in try value(input).storage }
          ?? Storage(shape: node.shape),
        carriesParameters: inputs.contains { $0.carriesParameters })
      operations.append(
        SumOperation(
          a: inputs[0], b: inputs[1], output: result,
          slope: uses.soleRectifier(index) ?? 1))
      values[index] = result

    case .shortcut(let stride, let firstChannel):
      let input = try value(node.inputs[0])
      let result = output([input])
      operations.append(
        ShortcutOperation(
          stride: stride, firstChannel: firstChannel, input: input, output: result))
      values[index] = result

    case .pool(let pooling):
      let input = try value(node.inputs[0])
      let result = output([input])
      operations.append(PoolOperation(pooling: pooling, input: input, output: result))
      values[index] = result

    case .globalPool:
      let input = try value(node.inputs[0])
      let result = output([input])
      operations.append(GlobalPoolOperation(input: input, output: result))
      values[index] = result

    case .linear(let weight, let bias):
      let input = try plain(node.inputs[0])
      let result = output([input], always: true)
      operations.append(
        LinearOperation(weight: weight, bias: bias, input: input, output: result))
      values[index] = result

    case .concatenation:
      var inputs: [Value] = []
      for input in node.inputs { inputs.append(try value(input)) }
      let result = output(inputs)
      let norms = try normsReading(index)
      operations.append(
        try ConcatenationOperation(inputs: inputs, output: result, norms: norms.map(\.norm)))
      values[index] = result
      count(to: index)
      addNorms(norms, of: result)

    case .dropout(let probability, let number):
      let input = try value(node.inputs[0])
      guard probability > 0 else {
        values[index] = input
        return
      }
      let result = output([input])
      operations.append(
        DropoutOperation(
          probability: probability, number: number, input: input, output: result))
      values[index] = result
    }
  }

  /// Whether nobody reads a value's numbers once `reader` has: no other layer, and no backward pass.
  private func isSpent(_ index: Graph.Index, by reader: Graph.Index) -> Bool {
    guard uses.soleReader(index) == reader else { return false }
    switch graph.nodes[index].layer {
    case .convolution, .shortcut, .pool: return true
    default: return false
    }
  }

  /// Batch norms whose statistics come with what they read, as views of it.
  private mutating func addNorms(_ norms: [(reader: Graph.Index, norm: BatchNorm)], of input: Value)
  {
    for (reader, norm) in norms {
      let view = Value(
        storage: input.storage, norm: norm, carriesParameters: input.carriesParameters)
      operations.append(
        BatchNormOperation(input: input, output: view, norm: norm, statisticsComeWithInput: true))
      count(to: reader)
      values[reader] = view
    }
  }

  /// The batch norms that read a convolution's or concatenation's output directly.
  private func normsReading(_ index: Graph.Index) throws(GraftError) -> [(
    reader: Graph.Index, norm: BatchNorm
  )] {
    var norms: [(reader: Graph.Index, norm: BatchNorm)] = []
    for (reader, tensors) in uses.norms(of: index) {
      norms.append((reader, try BatchNorm(tensors)))
    }
    return norms
  }
}
