import CGraft
import Grafting
import GraftSupport

private var graftDefaults: graft_options {
  graft_options(
    struct_size: MemoryLayout<graft_options>.size, source: GRAFT_SOURCE_RING,
    weighting: GRAFT_WEIGHTING_ENTROPY, a: 0.4, c: 500, constant: 0.5, bins: 10, threshold: 0.1,
    compatibility: 0, dry_run: 0, threads: 0, start: 1, every: 1, stop: 0, step: 0,
    sources: nil, source_count: 0, keep_zeros: 0, noise: 0.9, seed: 0)
}

@implementation @_cdecl("graft_options_init")
public func graft_options_init(_ options: UnsafeMutablePointer<graft_options>?, _ size: Int) {
  fill(options, size: size, with: graftDefaults)
}

/// The operator that a caller's options describe, and whether it is to be tried only.
func graftOperator(_ pointer: UnsafePointer<graft_options>?, name: String = "options")
  throws(GraftError) -> (settings: GraftOperator, dryRun: Bool)
{
  let given = try options(pointer, defaults: graftDefaults, name: name)
  // A struct that is one of several says which it is.
  let of = name == "options" ? "" : "\(name)->"
  var result = GraftOperator()
  switch given.source {
  case GRAFT_SOURCE_RING: result.source = .ring
  case GRAFT_SOURCE_MEAN: result.source = .mean
  case GRAFT_SOURCE_OTHERS: result.source = .others
  case GRAFT_SOURCE_EXPONENTIAL: result.source = .exponential
  case GRAFT_SOURCE_INTERNAL: result.source = .own
  case GRAFT_SOURCE_NOISE:
    guard given.noise > 0, given.noise < 1 else {
      throw GraftError(
        .invalidArgument, "\(of)noise is \(given.noise); it must lie between 0 and 1")
    }
    result.source = .noise(base: given.noise, seed: given.seed)
  case GRAFT_SOURCE_GIVEN: result.source = .given(try givenSources(given, of))
  default:
    throw GraftError(
      .invalidArgument, "\(of)source is \(given.source.rawValue), which is not a graft_source")
  }
  let a = try number(given.a, "\(of)a", in: 0...1)
  let c = try number(given.c, "\(of)c", in: nonNegative)
  let constant = try number(given.constant, "\(of)constant", in: 0...1)
  switch given.weighting {
  case GRAFT_WEIGHTING_ENTROPY: result.weighting = .entropy(a: a, c: c)
  case GRAFT_WEIGHTING_CONSTANT: result.weighting = .constant(constant)
  case GRAFT_WEIGHTING_FILTER_ENTROPY: result.weighting = .filterEntropy(a: a, c: c)
  case GRAFT_WEIGHTING_FILTER: result.weighting = .filter
  case GRAFT_WEIGHTING_L1: result.weighting = .l1(a: a, c: c)
  default:
    throw GraftError(
      .invalidArgument, "\(of)weighting is \(given.weighting.rawValue), which is not a graft_weighting")
  }
  result.bins = try integer(given.bins, "\(of)bins", in: Information.allowedBins)
  result.threshold = try number(given.threshold, "\(of)threshold", in: nonNegative)
  result.compatibility = try flag(given.compatibility, "\(of)compatibility")
  result.threads = try threadCount(given.threads, "\(of)threads")
  result.period = Period(
    start: try integer(given.start, "\(of)start", in: 1...Int.max),
    every: try integer(given.every, "\(of)every", in: 1...Int.max),
    stop: given.stop == 0 ? nil : try integer(given.stop, "\(of)stop", in: 0...Int.max))
  result.step = try integer(given.step, "\(of)step", in: 0...Int.max)
  result.keepZeros = try flag(given.keep_zeros, "\(of)keep_zeros")
  return (result, try flag(given.dry_run, "\(of)dry_run"))
}

/// The source of each network, copied.
private func givenSources(_ given: graft_options, _ of: String) throws(GraftError) -> [Int] {
  let count = try size(given.source_count, "\(of)source_count", in: 1...GraftOperator.maxNetworks)
  let sources = try required(given.sources, "\(of)sources")
  var result: [Int] = []
  for k in 0..<count {
    result.append(
      try integer(sources[k], "\(of)sources[\(k)]", in: 0...GraftOperator.maxNetworks - 1))
  }
  return result
}

@implementation @_cdecl("graft_is_due")
public func graft_is_due(
  _ options: UnsafePointer<graft_options>?, _ index: Int64, _ due: UnsafeMutablePointer<Int32>?
) -> graft_status {
  status { () throws(GraftError) in
    let due = try required(due, "due")
    let period = try graftOperator(options).settings.period
    due.pointee = period.isDue(after: try integer(index, "index", in: 1...Int.max)) ? 1 : 0
  }
}

@implementation @_cdecl("graft_apply")
public func graft_apply(
  _ plan: OpaquePointer?, _ networks: UnsafePointer<UnsafePointer<graft_tensor>?>?, _ stride: Int,
  _ tensor_count: Int, _ network_count: Int, _ options: UnsafePointer<graft_options>?,
  _ report: UnsafeMutablePointer<OpaquePointer?>?
) -> graft_status {
  status { () throws(GraftError) in
    let (settings, dryRun) = try graftOperator(options)
    let pointers = try required(networks, "networks")
    let count = try size(network_count, "network_count", in: 1...GraftOperator.maxNetworks)
    _ = try size(tensor_count, "tensor_count", in: 1...1 << 20)
    var described: [[TensorView]] = []
    for k in 0..<count {
      described.append(
        try tensors(pointers[k], stride: stride, count: tensor_count, "networks[\(k)]"))
    }
    let place =
      plan == nil
      ? try planByOrder(pointers[0], stride: stride, count: tensor_count, "networks[0]")
      : try object(plan, PlanBox.self, "plan").plan
    // The handle is made first: after the weights have changed nothing may fail.
    let handle = try report == nil ? nil : makeHandle(ReportBox(place))
    do throws(GraftError) {
      let result = try settings.apply(
        to: described, plan: place, dryRun: dryRun, measuresResult: handle != nil)
      if let handle { try object(handle, ReportBox.self, "report").report = result }
      report?.pointee = handle
    } catch {
      destroyHandle(handle, ReportBox.self)
      throw error
    }
  }
}
