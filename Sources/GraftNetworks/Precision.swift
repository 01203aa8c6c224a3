/// What a training pass multiplies in. Weights, batch norms, sums, losses and updates are float32
/// either way, and so is evaluation.
public enum Precision: Int, Sendable {
  case float32 = 0
  /// Convolutions round what they multiply to bfloat16, to nearest even, and add up in float32.
  /// Depthwise and grouped ones and those of groups with fewer than 8 channels or filters, which
  /// would gain nothing, stay float32, as do linear layers.
  case bfloat16 = 1
}
