/// What a training pass multiplies in. Weights, batch norms, sums, losses and updates are float32
/// either way, and so is evaluation.
public enum Precision: Int, Sendable {
  case float32 = 0
  /// Convolutions round what they multiply to bfloat16, to nearest even, and add up in float32.
  /// Those that would gain nothing stay float32: depthwise ones, groups with fewer than 16 channels
  /// or filters, and kernels larger than 1 x 1 that put out at most 16 pixels. So do linear layers.
  /// What batch norms alone read is kept rounded (`GraphUses.mayBeHalf`).
  case bfloat16 = 1
}
