import GraftSupport

/// A network under construction: nodes in the order in which they were added, each on earlier ones,
/// and the tensors that they own. Everything is checked as it is added.
final class Graph {
  private(set) var nodes: [Node] = []
  private(set) var tensors: [NetworkTensor] = []
  /// Whose node is called what.
  private(set) var names: [String: Index] = [:]
  private var dropouts = 0

  /// A node's number.
  typealias Index = Int

  init(input: ImageShape) throws(GraftError) {
    guard input.isAllowed else {
      throw GraftError(
        .invalidArgument,
        "input \(input): every dimension must be 1 to \(ImageShape.largestDimension), "
          + "all together at most \(ImageShape.largestCount)")
    }
    nodes.append(Node(layer: .input, inputs: [], shape: input, tensors: 0..<0))
  }

  func shape(_ value: Index, _ argument: String = "input") throws(GraftError) -> ImageShape {
    guard nodes.indices.contains(value) else {
      throw GraftError(
        .invalidArgument,
        "\(argument) is \(value); this network has the values 0 to \(nodes.count - 1)")
    }
    return nodes[value].shape
  }

  // MARK: Layers

  func convolution(_ name: String, _ input: Index, _ settings: Convolution) throws(GraftError)
    -> Index
  {
    let shape = try shape(input)
    try check(name: name)
    try check(settings.filters, "filters", 1...ImageShape.largestDimension)
    try check(settings.groups, "groups", 1...ImageShape.largestDimension)
    for (axis, kernel, stride, padding, dilation) in [
      (
        "height", settings.kernel.height, settings.stride.height, settings.padding.height,
        settings.dilation.height
      ),
      (
        "width", settings.kernel.width, settings.stride.width, settings.padding.width,
        settings.dilation.width
      ),
    ] {
      try check(kernel, "kernel_\(axis)", 1...31)
      try check(stride, "stride_\(axis)", 1...1024)
      try check(padding, "padding_\(axis)", 0...1024)
      try check(dilation, "dilation_\(axis)", 1...1024)
    }
    guard shape.channels % settings.groups == 0, settings.filters % settings.groups == 0 else {
      throw GraftError(
        .shapeMismatch,
        "\(name): groups is \(settings.groups); it must divide the \(shape.channels) channels "
          + "and the \(settings.filters) filters")
    }
    let out = try windows(
      name, shape, channels: settings.filters, kernel: settings.kernel, stride: settings.stride,
      padding: settings.padding, dilation: settings.dilation)
    let weight = try NetworkTensor(
      name: "\(name).weight", kind: .weight,
      shape: [
        settings.filters, shape.channels / settings.groups, settings.kernel.height,
        settings.kernel.width,
      ])
    let bias =
      settings.bias
      ? try NetworkTensor(name: "\(name).bias", kind: .bias, shape: [settings.filters]) : nil
    return add(
      .convolution(settings, weight: weight, bias: bias), [input], out, name, [weight, bias])
  }

  func batchNorm(_ name: String, _ input: Index, epsilon: Double, momentum: Double)
    throws(GraftError) -> Index
  {
    let shape = try shape(input)
    try check(name: name)
    guard epsilon.isFinite, epsilon > 0, epsilon <= 1 else {
      throw GraftError(.invalidArgument, "epsilon is \(epsilon); allowed is more than 0, up to 1")
    }
    guard momentum.isFinite, (0...1).contains(momentum) else {
      throw GraftError(.invalidArgument, "momentum is \(momentum); allowed are 0 to 1")
    }
    func tensor(_ suffix: String, _ kind: NetworkTensor.Kind, _ shape: [Int]) throws(GraftError)
      -> NetworkTensor
    {
      try NetworkTensor(name: "\(name).\(suffix)", kind: kind, shape: shape)
    }
    let size = [shape.channels]
    let norm = BatchNormTensors(
      weight: try tensor("weight", .normWeight, size),
      bias: try tensor("bias", .normBias, size),
      mean: try tensor("running_mean", .runningMean, size),
      variance: try tensor("running_var", .runningVariance, size),
      counter: try tensor("num_batches_tracked", .batchCounter, []),
      epsilon: epsilon, momentum: momentum)
    return add(
      .batchNorm(norm), [input], shape, name,
      [norm.weight, norm.bias, norm.mean, norm.variance, norm.counter])
  }

  func rectifier(_ input: Index, slope: Double) throws(GraftError) -> Index {
    let shape = try shape(input)
    guard slope.isFinite, slope >= 0, slope <= 1 else {
      throw GraftError(.invalidArgument, "negative_slope is \(slope); allowed are 0 to 1")
    }
    return add(.rectifier(slope: Float(slope), ceiling: .infinity), [input], shape)
  }

  func clippedRectifier(_ input: Index, ceiling: Double) throws(GraftError) -> Index {
    let shape = try shape(input)
    let normal = Double(Float.leastNormalMagnitude)...Double(Float.greatestFiniteMagnitude)
    guard normal.contains(ceiling) else {
      throw GraftError(
        .invalidArgument,
        "ceiling is \(ceiling); allowed are \(normal.lowerBound) to \(normal.upperBound)")
    }
    return add(.rectifier(slope: 0, ceiling: Float(ceiling)), [input], shape)
  }

  func dropout(_ input: Index, probability: Double) throws(GraftError) -> Index {
    let shape = try shape(input)
    guard probability >= 0, probability < 1 else {
      throw GraftError(
        .invalidArgument, "probability is \(probability); allowed are 0 to 1, 1 excluded")
    }
    dropouts += 1
    return add(.dropout(probability: probability, number: dropouts - 1), [input], shape)
  }

  func concatenation(_ inputs: [Index]) throws(GraftError) -> Index {
    guard (1...Network.largestJoin).contains(inputs.count) else {
      throw GraftError(
        .invalidArgument,
        "count is \(inputs.count); a concatenation joins 1 to \(Network.largestJoin) values")
    }
    let first = try shape(inputs[0], "inputs[0]")
    var out = first
    for (place, input) in inputs.enumerated().dropFirst() {
      let next = try shape(input, "inputs[\(place)]")
      guard next.height == first.height, next.width == first.width else {
        throw GraftError(
          .shapeMismatch,
          "inputs[\(place)] is \(next) and inputs[0] is \(first): a concatenation needs one height "
            + "and width")
      }
      out.channels += next.channels
    }
    guard out.isAllowed else {
      throw GraftError(.invalidArgument, "the concatenation, \(out), would be too large")
    }
    return add(.concatenation, inputs, out)
  }

  func sum(_ a: Index, _ b: Index) throws(GraftError) -> Index {
    let (left, right) = (try shape(a, "a"), try shape(b, "b"))
    guard left == right else {
      throw GraftError(
        .shapeMismatch, "a is \(left) and b is \(right): a sum needs two values of one shape")
    }
    return add(.sum, [a, b], left)
  }

  func shortcut(_ input: Index, stride: Int, channels: Int) throws(GraftError) -> Index {
    let shape = try shape(input)
    try check(stride, "stride", 1...1024)
    try check(channels, "channels", 1...ImageShape.largestDimension)
    guard channels >= shape.channels else {
      throw GraftError(
        .shapeMismatch,
        "channels is \(channels); a shortcut pads the \(shape.channels) channels of its input")
    }
    let out = ImageShape(
      channels: channels, height: (shape.height + stride - 1) / stride,
      width: (shape.width + stride - 1) / stride)
    return add(
      .shortcut(stride: stride, firstChannel: (channels - shape.channels) / 2), [input], out)
  }

  func pool(_ input: Index, _ pooling: Pooling) throws(GraftError) -> Index {
    let shape = try shape(input)
    try check(pooling.kernel, "kernel", 1...ImageShape.largestDimension)
    try check(pooling.stride, "stride", 1...ImageShape.largestDimension)
    try check(pooling.padding, "padding", 0...pooling.kernel / 2)
    let out = try windows(
      "kernel is \(pooling.kernel)", shape, channels: shape.channels, kernel: .init(pooling.kernel),
      stride: .init(pooling.stride), padding: .init(pooling.padding), dilation: .init(1))
    return add(.pool(pooling), [input], out)
  }

  func globalPool(_ input: Index) throws(GraftError) -> Index {
    let channels = try shape(input).channels
    return add(.globalPool, [input], ImageShape(channels: channels, height: 1, width: 1))
  }

  func linear(_ name: String, _ input: Index, features: Int, bias: Bool) throws(GraftError)
    -> Index
  {
    let shape = try shape(input)
    try check(name: name)
    try check(features, "features", 1...ImageShape.largestDimension)
    let weight = try NetworkTensor(
      name: "\(name).weight", kind: .weight, shape: [features, shape.count])
    let offset =
      bias ? try NetworkTensor(name: "\(name).bias", kind: .bias, shape: [features]) : nil
    return add(
      .linear(weight: weight, bias: offset), [input],
      ImageShape(channels: features, height: 1, width: 1), name, [weight, offset])
  }

  // MARK: Checks

  private func add(
    _ layer: Layer, _ inputs: [Index], _ shape: ImageShape, _ name: String? = nil,
    _ owned: [NetworkTensor?] = []
  ) -> Index {
    let first = tensors.count
    tensors += owned.compactMap { $0 }
    nodes.append(
      Node(
        layer: layer, inputs: inputs, shape: shape, name: name, tensors: first..<tensors.count))
    if let name { names[name] = nodes.count - 1 }
    return nodes.count - 1
  }

  /// Names a value that has no name yet.
  func label(_ value: Index, _ name: String) throws(GraftError) {
    _ = try shape(value, "value")
    try check(name: name)
    if let own = nodes[value].name {
      throw GraftError(.invalidArgument, "value \(value) has a name already, '\(own)'")
    }
    nodes[value].name = name
    names[name] = value
  }

  private func check(_ value: Int, _ name: String, _ range: ClosedRange<Int>) throws(GraftError) {
    guard range.contains(value) else {
      throw GraftError(
        .invalidArgument,
        "\(name) is \(value); allowed are \(range.lowerBound) to \(range.upperBound)")
    }
  }

  private func check(name: String) throws(GraftError) {
    guard !name.isEmpty, name.utf8.count <= 512,
      name.unicodeScalars.allSatisfy({ $0.properties.generalCategory != .control })
    else {
      throw GraftError(
        .invalidArgument, "name must have 1 to 512 bytes and no control characters")
    }
    guard names[name] == nil else {
      throw GraftError(
        .invalidArgument, "name '\(name)' is taken: layers' and values' names must be unique")
    }
  }

  private func windows(
    _ name: String, _ shape: ImageShape, channels: Int, kernel: Convolution.Extent,
    stride: Convolution.Extent, padding: Convolution.Extent, dilation: Convolution.Extent
  ) throws(GraftError) -> ImageShape {
    let height = shape.height + 2 * padding.height - dilation.height * (kernel.height - 1) - 1
    let width = shape.width + 2 * padding.width - dilation.width * (kernel.width - 1) - 1
    guard height >= 0, width >= 0 else {
      throw GraftError(
        .shapeMismatch,
        "\(name): a window of \(kernel.height) x \(kernel.width) does not fit in an input of "
          + "\(shape.height) x \(shape.width) with padding \(padding.height) x \(padding.width)")
    }
    let out = ImageShape(
      channels: channels, height: height / stride.height + 1, width: width / stride.width + 1)
    guard out.isAllowed else {
      throw GraftError(.invalidArgument, "\(name): its output, \(out), would be too large")
    }
    return out
  }
}
