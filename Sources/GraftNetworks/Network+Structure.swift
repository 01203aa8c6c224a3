import GraftSupport

extension Network {
  // MARK: Structure

  /// The operations in the order in which they were added, the input first.
  public var operations: [OperationDescription] { graphNodes.map(OperationDescription.init) }

  public var operationCount: Int { graphNodes.count }

  /// One operation; `index` must be one of `operationCount`.
  public func operation(_ index: Int) -> OperationDescription {
    OperationDescription(graphNodes[index])
  }

  /// The value that the last layer, a linear one, reads: the features that recognition compares.
  public func penultimate() throws(GraftError) -> Output {
    let last = graphNodes[try output().index]
    guard case .linear = last.layer, var before = last.inputs.first else {
      throw GraftError(
        .unsupported,
        "the network does not end in a linear layer: say which value its features are")
    }
    // A dropout does nothing in evaluation.
    while case .dropout = graphNodes[before].layer, let input = graphNodes[before].inputs.first {
      before = input
    }
    return Output(index: before)
  }
}

/// An operation's name and inputs as C sees them.
public final class OperationMemory {
  public let name: Buffer<CChar>
  public let inputs: Buffer<Int32>

  init(_ node: Node) throws(GraftError) {
    let bytes = Array((node.name ?? "").utf8CString)
    name = try Buffer(count: bytes.count, for: "a name")
    for (index, byte) in bytes.enumerated() { name[index] = byte }
    inputs = try Buffer(count: node.inputs.count, for: "an operation's inputs")
    for (index, input) in node.inputs.enumerated() {
      inputs[index] = Int32(truncatingIfNeeded: input)
    }
  }
}
