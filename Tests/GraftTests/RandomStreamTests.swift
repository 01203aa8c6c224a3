import GraftSupport
import Testing

@Suite struct RandomStreamTests {
  /// The known answers that the authors publish with Random123 (kat_vectors, philox4x32 10).
  @Test func philoxGivesThePublishedAnswers() {
    let zero = Philox.block(counter: .init(0, 0, 0, 0), key: .init(0, 0))
    #expect(zero == .init(0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8))
    let ones = Philox.block(counter: .init(repeating: .max), key: .init(repeating: .max))
    #expect(ones == .init(0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd))
    let pi = Philox.block(
      counter: .init(0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344),
      key: .init(0xa409_3822, 0x299f_31d0))
    #expect(pi == .init(0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1))
  }

  @Test func streamsOfDifferentKeysDiffer() {
    var seen: Set<[UInt32]> = []
    var streams = 0
    for seed: UInt64 in [0, 1, 1 << 32, .max] {
      for purpose: RandomStream.Purpose in [.initialisation, .shuffle, .augmentation, .noise] {
        for first: UInt64 in [0, 1, 2, 1 << 32] {
          for second: UInt64 in [0, 1, 2, 1 << 32] {
            var stream = RandomStream(seed: seed, purpose: purpose, first, second)
            seen.insert((0..<4).map { _ in stream.next() })
            streams += 1
          }
        }
      }
    }
    #expect(seen.count == streams)
  }

  @Test func theSameKeyGivesTheSameNumbers() {
    var one = RandomStream(seed: 7, purpose: .noise, 3, 9)
    var two = RandomStream(family: .init(seed: 7, purpose: .noise, 3), 9)
    for _ in 0..<100 { #expect(one.next() == two.next()) }
  }

  @Test func normalNumbersHaveTheNormalMoments() {
    var stream = RandomStream(seed: 1, purpose: .initialisation)
    let count = 100_000
    var sums = [0.0, 0.0, 0.0, 0.0]
    for _ in 0..<count {
      let value = stream.normal()
      #expect(value.isFinite)
      sums[0] += value
      sums[1] += value * value
      sums[2] += value * value * value
      sums[3] += value * value * value * value
    }
    let moments = sums.map { $0 / Double(count) }
    // Five standard errors of each: sqrt(1, 2, 15, 96) / sqrt(count).
    #expect(abs(moments[0]) < 0.016)
    #expect(abs(moments[1] - 1) < 0.023)
    #expect(abs(moments[2]) < 0.062)
    #expect(abs(moments[3] - 3) < 0.155)
  }

  @Test func belowIsUniformAndStaysBelow() {
    var stream = RandomStream(seed: 2, purpose: .shuffle)
    #expect(stream.below(0) == 0)
    #expect(stream.below(1) == 0)
    var counts = [Int](repeating: 0, count: 9)
    for _ in 0..<90_000 { counts[Int(stream.below(9))] += 1 }
    let statistic = counts.map { Double($0) - 10_000 }.reduce(0) { $0 + $1 * $1 / 10_000 }
    #expect(statistic < 26.1)  // chi-square, 8 degrees of freedom, one in a thousand
    // A limit for which plain scaling would be visibly biased: a third of the words are rejected.
    let limit: UInt32 = 3 << 30
    var low = 0
    for _ in 0..<30_000 {
      let value = stream.below(limit)
      #expect(value < limit)
      if value < 1 << 30 { low += 1 }
    }
    #expect(abs(low - 10_000) < 410)  // five deviations of a third of 30000
  }

  @Test func uniformNumbersStayInTheirRange() {
    var stream = RandomStream(seed: 3, purpose: .noise)
    var sum = 0.0
    for _ in 0..<10_000 {
      let value = stream.uniform()
      #expect(value >= 0 && value < 1)
      sum += value
    }
    #expect(abs(sum / 10_000 - 0.5) < 0.0145)
  }
}
