import GraftSupport

// Whether arrays share memory. Arrays that lie apart are the rule; ones that lie interleaved (a
// stack of networks along an inner dimension) are told from ones that really share an element.

/// A tensor's place in memory, and whose it is.
struct Place {
  let network: Int
  let tensor: Int
  let view: TensorView
  let start: UInt
  /// One past the last byte.
  let end: UInt

  /// - Parameter view: not empty.
  init(network: Int, tensor: Int, view: TensorView) {
    self.network = network
    self.tensor = tensor
    self.view = view
    start = UInt(bitPattern: view.data)
    let reach = zip(view.shape, view.strides).reduce(1) { $0 + ($1.0 - 1) * $1.1 }
    end = start &+ UInt(reach * view.type.size)
  }

  func isSame(as other: Place) -> Bool {
    start == other.start && view.shape == other.view.shape && view.strides == other.view.strides
  }
}

/// The pairs of places that share memory, in order of memory.
func sharedPlaces(_ places: [Place]) -> [(Place, Place)] {
  var shared: [(Place, Place)] = []
  var open: [Place] = []
  for place in places.sorted(by: { $0.start < $1.start }) {
    open.removeAll { $0.end <= place.start }
    for earlier in open where sharesElement(earlier, place) { shared.append((earlier, place)) }
    open.append(place)
  }
  return shared
}

/// Whether two arrays whose extents overlap have an element in common; true too where that would
/// take too long to find out.
private func sharesElement(_ a: Place, _ b: Place) -> Bool {
  let size = UInt(a.view.type.size)
  guard b.start >= a.start, size == UInt(b.view.type.size), (b.start - a.start) % size == 0,
    let apart = Int.checked((b.start - a.start) / size)
  else { return true }
  // a's element i and b's element j are the same where sum i_d s_d - sum j_d t_d = apart: for each
  // distinct stride, by how many steps can the two indices differ?
  var ranges: [Int: ClosedRange<Int>] = [:]
  for (dimension, stride) in zip(a.view.shape, a.view.strides) where dimension > 1 {
    let range = ranges[stride] ?? 0...0
    ranges[stride] = range.lowerBound...range.upperBound + dimension - 1
  }
  for (dimension, stride) in zip(b.view.shape, b.view.strides) where dimension > 1 {
    let range = ranges[stride] ?? 0...0
    ranges[stride] = range.lowerBound - (dimension - 1)...range.upperBound
  }
  let steps = ranges.sorted { $0.key > $1.key }
  var budget = 10_000

  func reaches(_ apart: Int, from index: Int) -> Bool {
    if index == steps.count { return apart == 0 }
    budget -= 1
    if budget < 0 { return true }
    let (stride, range) = steps[index]
    if stride == 0 { return reaches(apart, from: index + 1) }
    // What the smaller strides can make up for.
    var least = 0
    var most = 0
    for (smaller, span) in steps[(index + 1)...] {
      least += smaller * span.lowerBound
      most += smaller * span.upperBound
    }
    let first = max(range.lowerBound, floorDivide(apart - most + stride - 1, stride))
    let last = min(range.upperBound, floorDivide(apart - least, stride))
    guard first <= last else { return false }
    for step in first...last where reaches(apart - step * stride, from: index + 1) { return true }
    return false
  }
  return reaches(apart, from: 0)
}

private func floorDivide(_ dividend: Int, _ divisor: Int) -> Int {
  let quotient = dividend / divisor
  return dividend % divisor < 0 ? quotient - 1 : quotient
}
