import GraftKernels
import GraftSupport

// From a described array to what the kernels walk over.

extension TensorView {
  /// The number of filters along dimension `axis`; 1 for an array without dimensions.
  public func filterCount(axis: Int) -> Int { shape.isEmpty ? 1 : shape[axis] }

  /// Whether its elements have 16 bits.
  var isHalf: Bool { type == .float16 || type == .bfloat16 }

  /// Checks that this can be measured: of floating point, not empty, and with a dimension `axis`.
  func checkMeasurable(axis: Int = 0) throws(GraftError) {
    guard type != .int64 else {
      throw GraftError(
        .unsupported,
        "\(name): the type is \(type); supported are float32, float64, float16 and bfloat16")
    }
    guard count > 0 else {
      throw GraftError(.invalidArgument, "\(name): empty, of shape \(shape)")
    }
    guard axis >= 0, axis < max(shape.count, 1) else {
      throw GraftError(
        .invalidArgument,
        "\(name): filter_axis is \(axis), and the shape is \(shape); allowed are 0 and 1, below "
          + "the number of dimensions")
    }
  }

  /// An array of the shape and type of `model`, without gaps, at `data`.
  init(placing model: TensorView, at data: UnsafeMutableRawPointer) throws(GraftError) {
    try self.init(name: model.name, data: data, type: model.type, shape: model.shape)
  }

  /// All elements as one run. The array is measurable.
  func wholeView() -> gk_weights { view(filters: 1, filterStride: 0, dimensions: shape.indices) }

  /// The elements by filter along dimension `axis`. The array is measurable with that axis.
  func filterView(axis: Int) -> gk_weights {
    guard !shape.isEmpty else { return wholeView() }
    return view(
      filters: shape[axis], filterStride: strides[axis],
      dimensions: shape.indices.filter { $0 != axis })
  }

  private func view(filters: Int, filterStride: Int, dimensions: some Sequence<Int>) -> gk_weights {
    // Dimensions that lie behind one another are one dimension.
    var joined: [(size: Int, stride: Int)] = []
    for dimension in dimensions where shape[dimension] != 1 {
      let (size, stride) = (shape[dimension], strides[dimension])
      if let outer = joined.last, product([size, stride]) == outer.stride {
        joined[joined.count - 1] = (outer.size * size, stride)
      } else {
        joined.append((size, stride))
      }
    }
    var view = gk_weights()
    view.data = data
    view.type = Int32(type.rawValue)
    view.filters = Int64(filters)
    view.filter_stride = Int64(filterStride)
    view.length = Int64(count / filters)
    view.rank = Int32(joined.count)
    withUnsafeMutableBytes(of: &view.shape) { sizes in
      withUnsafeMutableBytes(of: &view.stride) { strides in
        let (sizes, strides) = (
          sizes.bindMemory(to: Int64.self), strides.bindMemory(to: Int64.self)
        )
        for (index, dimension) in joined.enumerated() where index < sizes.count {
          sizes[index] = Int64(dimension.size)
          strides[index] = Int64(dimension.stride)
        }
      }
    }
    return view
  }

  /// The error for a weight that is NaN or infinite; it says where the first one is.
  func notFiniteError(_ label: String) -> GraftError {
    var index = [Int](repeating: 0, count: shape.count)
    for _ in 0..<count {
      let offset = zip(index, strides).reduce(0) { $0 + $1.0 * $1.1 }
      if let value = number(at: offset), !value.isFinite {
        return GraftError(
          .notFinite, "\(label): the weight at \(index) is \(value); all must be finite")
      }
      for axis in shape.indices.reversed() {
        index[axis] += 1
        if index[axis] < shape[axis] { break }
        index[axis] = 0
      }
    }
    return GraftError(
      .notFinite, "\(label): the sum of its weights' magnitudes is more than float64 can hold")
  }

  /// The element at an offset, in elements.
  func number(at offset: Int) -> Double? {
    guard let data else { return nil }
    let place = data + offset * type.size
    switch type {
    case .float32: return Double(place.load(as: Float.self))
    case .float64: return place.load(as: Double.self)
    case .float16:
      let bits = place.load(as: UInt16.self)
      let (exponent, fraction) = (Int(bits >> 10 & 31), Double(bits & 0x3FF))
      let sign: Double = bits >> 15 == 0 ? 1 : -1
      if exponent == 31 { return fraction == 0 ? sign * .infinity : .nan }
      return sign
        * (exponent == 0
          ? fraction * 0x1p-24 : Double(sign: .plus, exponent: exponent - 25, significand: 1)
            * (1024 + fraction))
    case .bfloat16:
      return Double(Float(bitPattern: UInt32(place.load(as: UInt16.self)) << 16))
    case .int64: return nil
    }
  }
}
