import CGraft
import Grafting
import GraftSupport

private var informationDefaults: graft_information_options {
  graft_information_options(
    struct_size: MemoryLayout<graft_information_options>.size, bins: 10, compatibility: 0,
    filter_axis: 0, threads: 0)
}

@implementation @_cdecl("graft_information_options_init")
public func graft_information_options_init(
  _ options: UnsafeMutablePointer<graft_information_options>?, _ size: Int
) {
  fill(options, size: size, with: informationDefaults)
}

private func information(_ pointer: UnsafePointer<graft_information_options>?)
  throws(GraftError) -> Information
{
  let given = try options(pointer, defaults: informationDefaults, name: "options")
  var result = Information()
  result.bins = try integer(given.bins, "bins", in: Information.allowedBins)
  result.compatibility = try flag(given.compatibility, "compatibility")
  result.filterAxis = try integer(given.filter_axis, "filter_axis", in: 0...1)
  result.threads = try threadCount(given.threads)
  return result
}

/// Hands out one value per filter; `count` is what the caller has room for.
private func copy<T>(
  _ values: Buffer<T>, to pointer: UnsafeMutablePointer<T>, count: Int, _ label: String
) throws(GraftError) {
  guard count == values.count else {
    throw GraftError(
      .shapeMismatch,
      "count is \(UInt(bitPattern: count)); it must be the number of \(label), \(values.count)")
  }
  pointer.update(from: values.pointer, count: values.count)
}

@implementation @_cdecl("graft_entropy")
public func graft_entropy(
  _ weights: UnsafePointer<graft_tensor>?, _ options: UnsafePointer<graft_information_options>?,
  _ entropy: UnsafeMutablePointer<Double>?
) -> graft_status {
  status { () throws(GraftError) in
    let entropy = try required(entropy, "entropy")
    let information = try information(options)
    entropy.pointee = try information.entropy(of: tensor(weights, "weights"))
  }
}

@implementation @_cdecl("graft_filter_entropies")
public func graft_filter_entropies(
  _ weights: UnsafePointer<graft_tensor>?, _ options: UnsafePointer<graft_information_options>?,
  _ entropies: UnsafeMutablePointer<Double>?, _ count: Int
) -> graft_status {
  status { () throws(GraftError) in
    let entropies = try required(entropies, "entropies")
    let information = try information(options)
    let values = try information.filterEntropies(of: tensor(weights, "weights"))
    try copy(values, to: entropies, count: count, "filters")
  }
}

@implementation @_cdecl("graft_histogram")
public func graft_histogram(
  _ weights: UnsafePointer<graft_tensor>?, _ options: UnsafePointer<graft_information_options>?,
  _ counts: UnsafeMutablePointer<Int64>?, _ count: Int
) -> graft_status {
  status { () throws(GraftError) in
    let counts = try required(counts, "counts")
    let information = try information(options)
    let values = try information.counts(of: tensor(weights, "weights"))
    try copy(values, to: counts, count: count, "bins")
  }
}

@implementation @_cdecl("graft_filter_norms")
public func graft_filter_norms(
  _ weights: UnsafePointer<graft_tensor>?, _ options: UnsafePointer<graft_information_options>?,
  _ norms: UnsafeMutablePointer<Double>?, _ count: Int
) -> graft_status {
  status { () throws(GraftError) in
    let norms = try required(norms, "norms")
    let information = try information(options)
    let values = try information.filterNorms(of: tensor(weights, "weights"))
    try copy(values, to: norms, count: count, "filters")
  }
}

@implementation @_cdecl("graft_invalid_filters")
public func graft_invalid_filters(
  _ weights: UnsafePointer<graft_tensor>?, _ threshold: Double,
  _ options: UnsafePointer<graft_information_options>?, _ mask: UnsafeMutablePointer<UInt8>?,
  _ count: Int
) -> graft_status {
  status { () throws(GraftError) in
    let mask = try required(mask, "mask")
    let threshold = try number(threshold, "threshold", in: nonNegative)
    let information = try information(options)
    let invalid = try information.invalidFilters(
      of: tensor(weights, "weights"), under: threshold)
    try copy(invalid, to: mask, count: count, "filters")
  }
}

@implementation @_cdecl("graft_coefficient")
public func graft_coefficient(
  _ h_self: Double, _ h_other: Double, _ a: Double, _ c: Double, _ compatibility: Int32,
  _ alpha: UnsafeMutablePointer<Double>?
) -> graft_status {
  status { () throws(GraftError) in
    let alpha = try required(alpha, "alpha")
    let finite = -Double.greatestFiniteMagnitude...Double.greatestFiniteMagnitude
    alpha.pointee = Coefficient(
      own: try number(h_self, "h_self", in: finite),
      other: try number(h_other, "h_other", in: finite),
      a: try number(a, "a", in: 0...1), c: try number(c, "c", in: nonNegative),
      compatibility: try flag(compatibility, "compatibility")
    ).alpha
  }
}

@implementation @_cdecl("graft_blend")
public func graft_blend(
  _ self: UnsafePointer<graft_tensor>?, _ other: UnsafePointer<graft_tensor>?, _ alpha: Double,
  _ threads: Int32
) -> graft_status {
  status { () throws(GraftError) in
    try blend(
      tensor(self, "self"), with: tensor(other, "other"),
      alpha: number(alpha, "alpha", in: 0...1), threads: threadCount(threads))
  }
}
