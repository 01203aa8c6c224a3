import GraftKernels
import GraftSupport

/// A network: built layer by layer, then run forward and backward. Not safe for two threads at
/// once.
public final class Network {
  /// What a layer puts out, or the network's input.
  public struct Output: Equatable, Sendable {
    public let index: Int
    public init(index: Int) { self.index = index }
  }

  private let graph: Graph
  private var program: Program?
  /// The value that the network puts out, and the program that computes it.
  private var outputNode: Graph.Index?
  /// The network in evaluation, and the last program made for another value or folded.
  private var evaluation: ForwardProgram?
  private var other: (value: Output, folds: Bool, program: ForwardProgram)?
  private let workspace = Workspace()
  /// The last training pass, until it has been run backward.
  private var open: Pass?
  public private(set) var hasGradients = false
  /// Set while operations are timed.
  var times: OperationTimes?
  /// Threads that a pass uses; 0 for what OpenMP would take.
  public var threads = 0
  /// What training passes multiply in. A trainer sets it.
  public var precision = Precision.float32
  /// What the next training pass's dropouts draw from.
  public var randomness = Randomness(seed: 0, step: 0)

  /// What is dropped is a function of a seed and a step, which every training pass counts up.
  public struct Randomness: Equatable, Sendable {
    public var seed: UInt64
    public var step: UInt64
    public init(seed: UInt64, step: UInt64) {
      self.seed = seed
      self.step = step
    }
  }

  /// Starts a network on images of a shape.
  public init(input: ImageShape) throws(GraftError) {
    graph = try Graph(input: input)
  }

  // MARK: Construction

  public var input: Output { Output(index: 0) }

  public func convolution(_ name: String, _ input: Output, _ settings: Convolution)
    throws(GraftError) -> Output
  {
    try construct { graph throws(GraftError) in try graph.convolution(name, input.index, settings) }
  }

  public func batchNorm(
    _ name: String, _ input: Output, epsilon: Double = 1e-5, momentum: Double = 0.1
  ) throws(GraftError) -> Output {
    try construct { graph throws(GraftError) in
      try graph.batchNorm(name, input.index, epsilon: epsilon, momentum: momentum)
    }
  }

  public func relu(_ input: Output, negativeSlope: Double = 0) throws(GraftError) -> Output {
    try construct { graph throws(GraftError) in
      try graph.rectifier(input.index, slope: negativeSlope)
    }
  }

  /// min(max(x, 0), ceiling); with a ceiling of 6 torch's ReLU6.
  public func clippedRelu(_ input: Output, ceiling: Double = 6) throws(GraftError) -> Output {
    try construct { graph throws(GraftError) in
      try graph.clippedRectifier(input.index, ceiling: ceiling)
    }
  }

  public func sum(_ a: Output, _ b: Output) throws(GraftError) -> Output {
    try construct { graph throws(GraftError) in try graph.sum(a.index, b.index) }
  }

  /// The most values that one concatenation joins.
  public static let largestJoin = 4096

  /// Values of one height and width next to each other along their channels.
  public func concatenation(_ inputs: [Output]) throws(GraftError) -> Output {
    try construct { graph throws(GraftError) in try graph.concatenation(inputs.map(\.index)) }
  }

  /// In training sets a share of the numbers to zero and divides the others by 1 - probability.
  public func dropout(_ input: Output, probability: Double = 0.5) throws(GraftError) -> Output {
    try construct { graph throws(GraftError) in
      try graph.dropout(input.index, probability: probability)
    }
  }

  /// The parameterless shortcut (He et al. 2016, option A).
  public func shortcut(_ input: Output, stride: Int, channels: Int) throws(GraftError) -> Output {
    try construct { graph throws(GraftError) in
      try graph.shortcut(input.index, stride: stride, channels: channels)
    }
  }

  public func pool(_ input: Output, _ pooling: Pooling) throws(GraftError) -> Output {
    try construct { graph throws(GraftError) in try graph.pool(input.index, pooling) }
  }

  public func globalPool(_ input: Output) throws(GraftError) -> Output {
    try construct { graph throws(GraftError) in try graph.globalPool(input.index) }
  }

  public func linear(_ name: String, _ input: Output, features: Int, bias: Bool = true)
    throws(GraftError) -> Output
  {
    try construct { graph throws(GraftError) in
      try graph.linear(name, input.index, features: features, bias: bias)
    }
  }

  private func construct(_ layer: (Graph) throws(GraftError) -> Graph.Index) throws(GraftError)
    -> Output
  {
    guard program == nil else {
      throw GraftError(.invalidState, "the network is finished; no layer can be added any more")
    }
    return Output(index: try layer(graph))
  }

  /// Ends the construction and draws the initial weights.
  public func finish(output: Output, seed: UInt64) throws(GraftError) {
    guard program == nil else {
      throw GraftError(.invalidState, "the network is finished already")
    }
    _ = try graph.shape(output.index, "output")
    let made = try Lowering.program(of: graph, output: output.index)
    try Initialisation.draw(graph.tensors, seed: seed)
    randomness = Randomness(seed: seed, step: 0)
    (program, outputNode) = (made, output.index)
  }

  private func finished() throws(GraftError) -> Program {
    guard let program else {
      throw GraftError(
        .invalidState, "the network is under construction: call graft_network_finish first")
    }
    return program
  }

  /// The shape of a value.
  public func shape(of value: Output) throws(GraftError) -> ImageShape {
    try graph.shape(value.index, "value")
  }

  /// Names a value that has no name yet; layers' values have their layers'.
  public func label(_ value: Output, _ name: String) throws(GraftError) {
    try graph.label(value.index, name)
    if let old = memories.removeValue(forKey: value.index) { unnamed.append(old) }
  }

  /// Operations as they were described to C: what was given out stays valid.
  private var memories: [Int: OperationMemory] = [:]
  private var unnamed: [OperationMemory] = []

  /// An operation's name and inputs as C sees them; they live as long as the network.
  public func memory(of operation: Int) throws(GraftError) -> OperationMemory {
    if let made = memories[operation] { return made }
    let memory = try OperationMemory(graph.nodes[operation])
    memories[operation] = memory
    return memory
  }

  /// The value of a layer's name or a label.
  public func value(named name: String) throws(GraftError) -> Output {
    guard let index = graph.names[name] else {
      throw GraftError(.invalidArgument, "name is '\(name)', and no layer or value is called that")
    }
    return Output(index: index)
  }

  /// The value that a finished network puts out.
  public func output() throws(GraftError) -> Output {
    _ = try finished()
    guard let outputNode else { throw GraftError(.internal, "a finished network has no output") }
    return Output(index: outputNode)
  }

  public var inputShape: ImageShape { graph.nodes[0].shape }

  public var outputShape: ImageShape {
    get throws(GraftError) { try finished().output.shape }
  }

  public var isFinished: Bool { program != nil }

  /// The graph's nodes, in the order in which they were added.
  var graphNodes: [Node] { graph.nodes }

  // MARK: Weights

  /// All tensors, in the order of PyTorch's state_dict.
  public var tensors: [NetworkTensor] { graph.tensors }

  /// Whether two networks have the same tensors: as many, of the same names, kinds and shapes.
  public func hasSameTensors(as other: Network) -> Bool {
    tensors.count == other.tensors.count
      && zip(tensors, other.tensors).allSatisfy {
        $0.name == $1.name && $0.kind == $1.kind && $0.shape == $1.shape
      }
  }

  public func copyWeights(from other: Network) throws(GraftError) {
    guard hasSameTensors(as: other) else {
      throw GraftError(.shapeMismatch, "from is a network of another structure")
    }
    for (mine, theirs) in zip(tensors, other.tensors) { mine.copy(from: theirs) }
  }

  /// A tensor's gradient, as the last backward pass left it.
  public func gradient(of tensor: NetworkTensor) throws(GraftError) -> TensorView {
    guard let view = try tensor.gradientView else {
      throw GraftError(
        .invalidArgument, "index is that of \(tensor.name), a buffer, which has no gradient")
    }
    guard hasGradients else {
      throw GraftError(.invalidState, "there is no gradient before the first backward pass")
    }
    return view
  }

  // MARK: Passes

  /// The most images in a batch.
  public static let largestBatch = 65536

  /// Reserves memory for a pass over `images` images and gives the place, N x H x W x C, where the
  /// caller writes them before `run`.
  public func begin(images: Int, training: Bool) throws(GraftError) -> UnsafeMutablePointer<Float> {
    let program = try finished()
    guard training else { return try begin(images: images, value: try output()) }
    try forget(images)
    let pass = Pass(
      images: images, threads: gk_threads(Int32(clamping: threads)), isTraining: true,
      precision: precision,
      randomness: RandomStream.Family(
        seed: randomness.seed, purpose: .dropout, randomness.step
      ).key, workspace: workspace)
    try program.input.storage.reserve(images: images)
    for operation in program.operations { try operation.reserve(pass) }
    begun = .training(program, pass)
    return program.input.storage.pointer
  }

  /// The same for a pass in evaluation that ends at `value`.
  ///
  /// - Parameter folds: whether batch norms become part of the convolutions before them, which
  ///   rounds otherwise.
  public func begin(images: Int, value: Output, folds: Bool = false) throws(GraftError)
    -> UnsafeMutablePointer<Float>
  {
    _ = try finished()
    _ = try shape(of: value)
    try forget(images)
    let program = try forward(to: value, folds: folds)
    let place = try program.reserve(images: images)
    begun = .evaluation(program, images)
    return place
  }

  private func forward(to value: Output, folds: Bool) throws(GraftError) -> ForwardProgram {
    if value.index == outputNode, !folds {
      if let evaluation { return evaluation }
      let made = try ForwardProgram(graph, output: value.index, folds: false)
      evaluation = made
      return made
    }
    if let other, other.value == value, other.folds == folds { return other.program }
    other = nil
    let made = try ForwardProgram(graph, output: value.index, folds: folds)
    other = (value, folds, made)
    return made
  }

  /// A forward pass with a copy of the weights as they are now, or, where it takes them, with the
  /// weights themselves: then this network's are zeros, and it holds no memory that it can make
  /// again.
  func frozen(to value: Output?, folds: Bool, takes: Bool, threads: Int) throws(GraftError)
    -> ForwardProgram
  {
    let output = try output()
    _ = try shape(of: value ?? output)
    if takes { dropPasses() }
    let made = try ForwardProgram(
      graph, output: (value ?? output).index, folds: folds, weights: takes ? .taken : .copied,
      threads: threads)
    if takes {
      hasGradients = false
      for tensor in tensors { tensor.discard() }
    }
    return made
  }

  /// Gives back what passes work in.
  private func dropPasses() {
    (open, begun, evaluation, other) = (nil, nil, nil, nil)
    for value in program?.values ?? [] { value.storage.drop() }
    workspace.drop()
  }

  /// Ends what the last pass has left open.
  private func forget(_ images: Int) throws(GraftError) {
    try Network.check(images: images)
    open = nil
    begun = nil
  }

  static func check(images: Int) throws(GraftError) {
    guard (1...Network.largestBatch).contains(images) else {
      throw GraftError(
        .invalidArgument, "images: a batch of \(images); allowed are 1 to \(Network.largestBatch)")
    }
  }

  /// A pass whose memory is reserved, waiting for its images.
  private enum Begun {
    case training(Program, Pass)
    case evaluation(ForwardProgram, Int)
  }
  private var begun: Begun?

  /// Runs the pass that `begin` has prepared and gives its output, N x H x W x C, valid until the
  /// next pass.
  @discardableResult
  public func run() throws(GraftError) -> UnsafePointer<Float> {
    defer { begun = nil }
    switch begun {
    case nil: throw GraftError(.invalidState, "a pass has to be begun before it is run")
    case .evaluation(let program, let images):
      return try program.run(
        images: images, threads: Int(gk_threads(Int32(clamping: threads))))
    case .training(let program, let pass):
      times?.begin()
      for (operation, node) in zip(program.operations, program.nodes) {
        operation.forward(pass)
        times?.countForward(node)
      }
      open = pass
      randomness.step &+= 1
      return UnsafePointer(program.output.storage.pointer)
    }
  }

  /// Images in the training pass that waits to be run backward.
  public var openImages: Int {
    get throws(GraftError) {
      guard let open else {
        throw GraftError(
          .invalidState,
          "a backward pass needs a forward pass in training before it, each its own")
      }
      return open.images
    }
  }

  /// Runs the last training pass backward. `fill` writes the gradient with respect to the output,
  /// N x H x W x C; `read`, where given, gets the one with respect to the images.
  public func runBackward(
    fill: (UnsafeMutablePointer<Float>) -> Void,
    read: ((UnsafePointer<Float>) -> Void)? = nil
  ) throws(GraftError) {
    let program = try finished()
    _ = try openImages
    guard let pass = open else { return }
    open = nil
    for value in program.values { value.isGradientWanted = read != nil }
    do {
      fill(try program.output.contribute(pass).to)
      times?.begin()
      for (operation, node) in zip(program.operations, program.nodes).reversed() {
        try operation.backward(pass)
        times?.countBackward(node)
      }
    } catch {
      dropGradients()
      open = pass  // what the pass has left is only read: it can be run backward again
      throw error
    }
    hasGradients = true
    if let read, let gradient = try program.input.takePlainGradient(pass) {
      read(UnsafePointer(gradient.pointer))
      pass.pool.release(gradient)
    }
  }

  /// After a failure: forgets the gradients that are under way.
  private func dropGradients() {
    for value in program?.values ?? [] { value.gradient = .none }
    workspace.pool.drain()
  }
}
