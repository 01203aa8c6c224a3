/// How many images have their label's logit first, and among the first five.
struct Hits: Equatable {
  var first = 0.0
  var five = 0.0

  init() {}

  init(first: Double, five: Double) {
    self.first = first
    self.five = five
  }

  /// Counts a batch's logits, `count` x `classes`. Of equal logits the one of the lower class comes
  /// first.
  ///
  /// - Parameter mixed: the other labels of mixed images: each label counts by its share.
  init(
    _ logits: UnsafePointer<Float>, _ labels: UnsafePointer<Int64>, mixed: MixedTargets? = nil,
    count: Int, classes: Int
  ) {
    for row in 0..<count {
      let values = logits + row * classes
      guard let mixed else {
        add(1, rank: rank(of: Int(labels[row]), in: values, classes: classes))
        continue
      }
      let share = mixed.shares[row]
      add(share, rank: rank(of: Int(labels[row]), in: values, classes: classes))
      add(1 - share, rank: rank(of: Int(mixed.others[row]), in: values, classes: classes))
    }
  }

  private mutating func add(_ share: Double, rank: Int) {
    if rank == 0 { first += share }
    if rank < 5 { five += share }
  }

  static func += (a: inout Hits, b: Hits) {
    a.first += b.first
    a.five += b.five
  }
}

/// How many logits come before a label's.
private func rank(of label: Int, in values: UnsafePointer<Float>, classes: Int) -> Int {
  let own = values[label]
  var before = 0
  for index in 0..<label where values[index] >= own { before += 1 }
  for index in label..<classes where values[index] > own { before += 1 }
  return before
}
