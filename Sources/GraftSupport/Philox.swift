/// Philox4x32-10, a random function of a counter: Salmon, Moraes, Dror and Shaw, "Parallel Random
/// Numbers: As Easy as 1, 2, 3", SC 2011. Having no state, it gives any draw of any stream at once,
/// in any order, on any thread, and there is nothing to save with a checkpoint.
public enum Philox {
  public typealias Block = SIMD4<UInt32>
  public typealias Key = SIMD2<UInt32>

  /// The four words that belong to a counter under a key.
  @inlinable
  public static func block(counter: Block, key: Key) -> Block {
    var (word, key) = (counter, key)
    for _ in 0..<10 {
      let left = word.x.multipliedFullWidth(by: 0xD251_1F53)
      let right = word.z.multipliedFullWidth(by: 0xCD9E_8D57)
      word = Block(
        right.high ^ word.y ^ key.x, right.low, left.high ^ word.w ^ key.y, left.low)
      key = Key(key.x &+ 0x9E37_79B9, key.y &+ 0xBB67_AE85)
    }
    return word
  }
}
