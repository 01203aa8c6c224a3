import GraftNetworks
import GraftSupport

// A network as a safetensors file: PyTorch's state_dict, nothing else.

extension Network {
  /// Writes the network's state_dict, as a whole or not at all.
  public func save(to path: String) throws(GraftError) {
    try SafeTensors.write(path: path, tensors: try stateTensors(), metadata: [("format", "pt")])
  }

  func stateTensors() throws(GraftError) -> [TensorView] {
    guard isFinished else {
      throw GraftError(.invalidState, "the network is under construction: finish it first")
    }
    var views: [TensorView] = []
    for tensor in tensors { views.append(try tensor.view) }
    return views
  }

  /// Reads a state_dict. On an error the network has not changed.
  public func load(from path: String) throws(GraftError) {
    let file = try SafeTensors.read(path: path)
    try checkState(file)
    copyState(from: file)
  }

  /// Checks that a file holds all of this network's tensors and nothing else; the batch norms'
  /// counters may be missing (older PyTorch did not have them).
  func checkState(_ file: SafeTensorsFile) throws(GraftError) {
    var known: Set<String> = []
    for view in try stateTensors() {
      known.insert(view.name)
      guard file.contains(view.name) else {
        if view.type == .int64 { continue }
        throw GraftError(
          .shapeMismatch, "\(file.path): the network's tensor '\(view.name)' is missing")
      }
      let stored = try file.tensor(view.name)
      guard stored.shape == view.shape else {
        throw GraftError(
          .shapeMismatch,
          "\(file.path): '\(view.name)' has shape \(stored.shape), in the network \(view.shape)")
      }
      guard stored.type == view.type else {
        throw GraftError(
          .unsupported,
          "\(file.path): '\(view.name)' is \(stored.type), in the network \(view.type)")
      }
    }
    if let other = file.names.first(where: { !known.contains($0) }) {
      throw GraftError(.shapeMismatch, "\(file.path): the network has no tensor '\(other)'")
    }
  }

  /// After `checkState`: cannot fail.
  func copyState(from file: SafeTensorsFile) {
    for tensor in tensors {
      guard let to = try? tensor.view, let from = try? file.tensor(tensor.name),
        let target = to.data, let source = from.data
      else { continue }
      target.copyMemory(from: source, byteCount: to.count * to.type.size)
    }
    withExtendedLifetime(file) {}
  }
}
