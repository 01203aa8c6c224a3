import GraftKernels
import GraftSupport

/// A network's forward pass in evaluation. A batch is cut into chunks of few images that go through
/// the whole network one after the other, so that what passes from layer to layer stays in the
/// processor's cache and no more memory is held than a chunk needs; each thread has chunks of its
/// own. Where there are fewer chunks than threads, all threads work on one layer after another
/// instead. A chunk's size follows from the network alone, so that the threads decide no bit.
final class ForwardProgram {
  private let graph: Graph?
  private let uses: GraphUses
  private let output: Graph.Index
  private let weights: ForwardWeights
  private var workers: [Worker] = []
  /// Images in a chunk.
  private let chunk: Int
  let inputShape: ImageShape
  let outputShape: ImageShape
  /// Whole batches, for callers who have no memory of their own.
  private var input: Buffer<Float>?
  private var result: Buffer<Float>?

  /// Floats that a chunk may take between the layers: some caches' worth.
  private static let room = 1 << 18
  /// From so many floats of weights on they are read from memory for every chunk: then a chunk has
  /// enough images to share the read, as many as the kernels like, while they take no more room.
  private static let (heavy, sharers, sharedRoom) = (1 << 22, 12, 1 << 22)

  /// One thread's memory and operations.
  private final class Worker {
    let steps: ForwardSteps
    let workspace = Workspace()
    /// What passes between the layers, and what they work in.
    private var arena: Buffer<Float>?
    private var (images, threads) = (0, Int32(0))

    init(_ steps: ForwardSteps) { self.steps = steps }

    /// Makes room for a batch. How the kernels cut their scratch memory depends on the batch, and a
    /// smaller one may need more of it: every other size is laid out anew.
    func reserve(_ pass: Pass) throws(GraftError) {
      if pass.images != images || pass.threads != threads {
        (images, threads) = (0, 0)
        var scratch: [Int] = []
        for operation in steps.operations {
          scratch.append(try (operation as? ForwardConvolution)?.scratch(pass) ?? 0)
        }
        let (starts, count) = try steps.places(images: pass.images, scratch: scratch)
        let memory: Buffer<Float>
        if let arena, arena.count >= count {
          memory = arena
        } else {
          arena = nil
          memory = try Buffer(count: count, for: "what passes between the layers")
        }
        for (life, start) in zip(steps.lives, starts) { life.storage.place(memory.pointer + start) }
        workspace.place(scratch: memory.pointer)
        (arena, images, threads) = (memory, pass.images, pass.threads)
      }
      for operation in steps.operations { try operation.reserve(pass) }
    }
  }

  /// What it has to do with the network's weights.
  enum Weights {
    /// They are read anew for every batch.
    case read
    /// They are read once, and nothing of the graph is kept: then `threads` workers are made at
    /// once, and no more later.
    case copied
    /// The same, and each is zeros after it was read.
    case taken
  }

  init(
    _ graph: Graph, output: Graph.Index, folds: Bool, weights use: Weights = .read, threads: Int = 1
  ) throws(GraftError) {
    let copies = use != .read
    let uses = GraphUses(graph, output: output)
    weights = try ForwardWeights(graph, uses, folds: folds, copies: copies)
    inputShape = graph.nodes[0].shape
    outputShape = graph.nodes[output].shape
    self.uses = uses
    self.output = output
    self.graph = copies ? nil : graph
    let steps = try ForwardSteps(graph, uses, output: output, weights: weights)
    chunk = try ForwardProgram.chunk(of: steps, weights)
    for linear in weights.linears.values { linear.rows = chunk }
    workers = [Worker(steps)]
    if copies {
      try add(workers: threads, graph)
      try weights.prepare(threads: threads, discarding: use == .taken)
      weights.release()
    }
  }

  private static func chunk(of steps: ForwardSteps, _ weights: ForwardWeights) throws(GraftError)
    -> Int
  {
    let none = [Int](repeating: 0, count: steps.operations.count)
    let image = max(1, try steps.places(images: 1, scratch: none).count)
    let isHeavy = weights.convolutions.values.reduce(0) { $0 + $1.packed.count } >= heavy
    return min(max(1, room / image, isHeavy ? min(sharers, sharedRoom / image) : 1), 64)
  }

  private func add(workers count: Int, _ graph: Graph) throws(GraftError) {
    while workers.count < count {
      workers.append(
        Worker(try ForwardSteps(graph, uses, output: output, weights: weights)))
    }
  }

  /// Room for a batch's images, N x H x W x C.
  func reserve(images: Int) throws(GraftError) -> UnsafeMutablePointer<Float> {
    func room(_ shape: ImageShape, _ held: Buffer<Float>?) throws(GraftError) -> Buffer<Float> {
      guard let count = product([images, shape.count]) else {
        throw GraftError(.outOfMemory, "a batch of \(images) images of \(shape) is too large")
      }
      if let held, held.count >= count { return held }
      return try Buffer(count: count, for: "the values of a batch, \(images) x \(shape)")
    }
    let place = try room(inputShape, input)
    input = place
    result = try room(outputShape, result)
    return place.pointer
  }

  /// Runs the images that `reserve` made room for; the result is valid until the next batch.
  func run(images: Int, threads: Int) throws(GraftError) -> UnsafePointer<Float> {
    guard let input, let result else {
      throw GraftError(.invalidState, "a pass has to be begun before it is run")
    }
    if graph != nil { try weights.prepare(threads: threads) }
    let isSideBySide = (images + chunk - 1) / chunk >= threads
    if let graph, isSideBySide { try add(workers: threads, graph) }
    let count = isSideBySide ? min(threads, workers.count) : 1
    let size = isSideBySide ? min(chunk, images) : images
    let threadsEach = Int32(clamping: isSideBySide ? 1 : threads)
    for worker in workers.prefix(count) {
      try worker.reserve(pass(worker, images: size, threads: threadsEach))
    }
    try concurrently((images + size - 1) / size, threads: count) {
      (index, worker) throws(GraftError) in
      let worker = workers[worker]
      let first = index * size
      worker.steps.input.place(input.pointer + first * inputShape.count)
      worker.steps.output.place(result.pointer + first * outputShape.count)
      let part = pass(worker, images: min(size, images - first), threads: threadsEach)
      for operation in worker.steps.operations { operation.forward(part) }
    }
    return UnsafePointer(result.pointer)
  }

  private func pass(_ worker: Worker, images: Int, threads: Int32) -> Pass {
    Pass(
      images: images, threads: threads, isTraining: false, precision: .float32,
      randomness: Philox.Key(), workspace: worker.workspace)
  }
}
