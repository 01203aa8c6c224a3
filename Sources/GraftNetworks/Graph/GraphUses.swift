/// Who reads what in a graph, as far as one of its values depends on it.
struct GraphUses {
  private let graph: Graph
  private let output: Graph.Index
  let isNeeded: [Bool]
  /// How many nodes that the output depends on read each node.
  private let readers: [Int]

  init(_ graph: Graph, output: Graph.Index) {
    self.graph = graph
    self.output = output
    var needed = [Bool](repeating: false, count: graph.nodes.count)
    var readers = [Int](repeating: 0, count: graph.nodes.count)
    needed[output] = true
    for index in graph.nodes.indices.reversed() where needed[index] {
      for input in graph.nodes[index].inputs {
        needed[input] = true
        readers[input] += 1
      }
    }
    isNeeded = needed
    self.readers = readers
  }

  /// The only reader of a node that is not the output itself.
  func soleReader(_ index: Graph.Index) -> Graph.Index? {
    guard readers[index] == 1, index != output else { return nil }
    return graph.nodes.indices.dropFirst(index + 1).first {
      isNeeded[$0] && graph.nodes[$0].inputs.contains(index)
    }
  }

  /// The slope of the rectifier that alone reads a node, where it has no ceiling.
  func soleRectifier(_ index: Graph.Index) -> Float? {
    guard let reader = soleReader(index),
      case .rectifier(let slope, .infinity) = graph.nodes[reader].layer
    else { return nil }
    return slope
  }

  /// Whether a node's numbers may be rounded to bfloat16 where that is wanted: batch norms alone
  /// read them, and no pool does through those.
  func mayBeHalf(_ index: Graph.Index) -> Bool {
    let norms = norms(of: index)
    return index != output && !norms.isEmpty && norms.count == readers[index]
      && !norms.contains { isPooled($0.reader) }
  }

  private func isPooled(_ index: Graph.Index) -> Bool {
    var same: Set = [index]  // what shows these numbers: nodes lie behind what they read
    for next in graph.nodes.indices.dropFirst(index + 1) where isNeeded[next] {
      guard graph.nodes[next].inputs.contains(where: same.contains) else { continue }
      switch graph.nodes[next].layer {
      case .pool, .globalPool: return true
      case .rectifier, .dropout: same.insert(next)
      default: continue
      }
    }
    return false
  }

  /// The batch norms that read a node.
  func norms(of index: Graph.Index) -> [(reader: Graph.Index, tensors: BatchNormTensors)] {
    var norms: [(reader: Graph.Index, tensors: BatchNormTensors)] = []
    for next in graph.nodes.indices.dropFirst(index + 1)
    where isNeeded[next] && graph.nodes[next].inputs == [index] {
      if case .batchNorm(let tensors) = graph.nodes[next].layer { norms.append((next, tensors)) }
    }
    return norms
  }
}
