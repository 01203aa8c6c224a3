import GraftKernels

/// Which kernels compute a convolution; all keep the same promises (graft_convolution.h).
enum ConvolutionKernel {
  case general
  case depthwise
  case grouped

  init(_ shape: gk_convolution) {
    var shape = shape
    self =
      gk_is_depthwise(&shape) != 0 ? .depthwise : gk_is_grouped(&shape) != 0 ? .grouped : .general
  }

  // Sizes in floats.

  func packedSize(_ shape: inout gk_convolution) -> Int {
    switch self {
    case .general: gk_convolution_packed_size(&shape)
    case .depthwise: gk_depthwise_packed_size(&shape)
    case .grouped: gk_grouped_packed_size(&shape)
    }
  }

  func packedBackwardSize(_ shape: inout gk_convolution) -> Int {
    switch self {
    case .general: gk_convolution_packed_backward_size(&shape)
    case .depthwise: gk_depthwise_packed_size(&shape)
    case .grouped: gk_grouped_packed_size(&shape)
    }
  }

  /// Whether it can round its output to bfloat16.
  func canHalve(_ shape: inout gk_convolution) -> Bool {
    switch self {
    case .general: gk_convolution_can_halve(&shape) != 0
    case .depthwise: true
    case .grouped: false
    }
  }

  /// For each worker.
  func scratchSize(_ shape: inout gk_convolution) -> Int {
    switch self {
    case .general: gk_convolution_scratch_size(&shape)
    case .depthwise: gk_depthwise_scratch_size(&shape)
    case .grouped: gk_grouped_scratch_size(&shape)
    }
  }

  func partialSize(_ shape: inout gk_convolution) -> Int {
    switch self {
    case .general: gk_convolution_partial_size(&shape)
    case .depthwise: gk_depthwise_partial_size(&shape)
    case .grouped: gk_grouped_partial_size(&shape)
    }
  }

  /// Forward tiles.
  func tiles(_ shape: inout gk_convolution) -> Int64 {
    switch self {
    case .general: gk_convolution_tiles(&shape)
    case .depthwise: gk_depthwise_tiles(&shape)
    case .grouped: gk_grouped_tiles(&shape)
    }
  }

  /// Pixels of a tile: the second of `sizes` in every `period`-th, the first in the others.
  func tilePixels(_ shape: inout gk_convolution) -> (period: Int64, sizes: (Int64, Int64)) {
    let band: Int64
    switch self {
    case .general:
      var sizes: [Int64] = [0, 0]
      let period = gk_convolution_tile_pixels(&shape, &sizes)
      return (period, (sizes[0], sizes[1]))
    case .depthwise: band = gk_depthwise_band(&shape)
    case .grouped: band = gk_grouped_band(&shape)
    }
    let period = tiles(&shape) / shape.n
    let last = shape.out_height - (period - 1) * band
    return (period, (band * shape.out_width, last * shape.out_width))
  }

  func pack(
    _ shape: inout gk_convolution, threads: Int32, _ weights: UnsafePointer<Float>,
    to packed: UnsafeMutablePointer<Float>
  ) {
    switch self {
    case .general: gk_convolution_pack(&shape, threads, weights, packed)
    case .depthwise: gk_depthwise_pack(&shape, threads, weights, packed)
    case .grouped: gk_grouped_pack(&shape, threads, weights, packed)
    }
  }

  /// Tiles of the sums that the backward pass leaves for the batch norm before it (graft_norm.h); 0
  /// where it leaves none.
  func sumTiles(_ shape: inout gk_convolution) -> Int64 {
    switch self {
    case .general: gk_convolution_sum_tiles(&shape)
    case .depthwise: gk_depthwise_sum_tiles(&shape)
    case .grouped: 0
    }
  }

  func packBackward(
    _ shape: inout gk_convolution, threads: Int32, _ weights: UnsafePointer<Float>,
    to packed: UnsafeMutablePointer<Float>
  ) {
    switch self {
    case .general: gk_convolution_pack_backward(&shape, threads, weights, packed)
    case .depthwise: gk_depthwise_pack(&shape, threads, weights, packed)  // the same order
    case .grouped: gk_grouped_pack_backward(&shape, threads, weights, packed)
    }
  }

  var forward:
    @convention(c) (
      UnsafePointer<gk_convolution>?, Int32, gk_view, UnsafePointer<Float>?, UnsafePointer<Float>?,
      UnsafeMutablePointer<Float>?, UnsafeMutablePointer<Float>?, UnsafeMutablePointer<Float>?
    ) -> Void
  {
    switch self {
    case .general: gk_convolution_forward
    case .depthwise: gk_depthwise_forward
    case .grouped: gk_grouped_forward
    }
  }

  var backward:
    @convention(c) (
      UnsafePointer<gk_convolution>?, Int32, gk_view, gk_gradient_view, UnsafePointer<Float>?,
      UnsafeMutablePointer<Float>?, Int32, gk_gradient_sums, UnsafeMutablePointer<Float>?,
      UnsafeMutablePointer<Float>?, UnsafeMutablePointer<Float>?, UnsafeMutablePointer<Float>?
    ) -> Void
  {
    switch self {
    case .general: gk_convolution_backward
    case .depthwise: gk_depthwise_backward
    case .grouped: gk_grouped_backward
    }
  }
}
