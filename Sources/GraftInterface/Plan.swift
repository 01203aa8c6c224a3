import CGraft
import Grafting
import GraftKernels
import GraftSupport

/// What a `graft_plan *` stands for.
final class PlanBox {
  var plan: GraftPlan
  let names: NameTable

  init(_ plan: GraftPlan) throws(GraftError) {
    self.plan = plan
    names = try NameTable(plan.entries.map(\.name))
  }
}

/// Names as C strings that live as long as this.
final class NameTable {
  private var starts: [Int] = []
  private let text: Buffer<CChar>

  init(_ names: [String]) throws(GraftError) {
    text = try Buffer(count: names.reduce(0) { $0 + $1.utf8.count + 1 }, for: "names")
    var next = 0
    for name in names {
      starts.append(next)
      for byte in name.utf8 {
        text[next] = CChar(bitPattern: byte)
        next += 1
      }
      next += 1
    }
  }

  subscript(index: Int) -> UnsafePointer<CChar> { UnsafePointer(text.pointer + starts[index]) }
}

/// What a plan by order needs to know of tensors: their data and shapes are not read.
func planByOrder(_ pointer: UnsafePointer<graft_tensor>?, stride: Int, count: Int, _ label: String)
  throws(GraftError) -> GraftPlan
{
  let first = UnsafeRawPointer(try required(pointer, label))
  _ = try size(count, "\(label): count", in: 1...1 << 20)
  _ = try size(stride, "stride", in: MemoryLayout<Int>.size...1 << 16)
  guard stride % MemoryLayout<graft_tensor>.alignment == 0 else {
    throw GraftError(.invalidArgument, "stride is \(stride); it must be sizeof(graft_tensor)")
  }
  let none = graft_tensor(
    struct_size: MemoryLayout<graft_tensor>.size, name: nil, data: nil, dtype: GRAFT_FLOAT32,
    rank: 0, shape: nil, strides: nil)
  var described: [(name: String, rank: Int, type: ElementType)] = []
  described.reserveCapacity(count)
  for index in 0..<count {
    let label = "\(label)[\(index)]"
    let one = (first + index * stride).assumingMemoryBound(to: graft_tensor.self)
    let given = try options(one, defaults: none, name: label)
    guard let type = ElementType(rawValue: given.dtype.rawValue) else {
      throw GraftError(
        .invalidArgument, "\(label): dtype \(given.dtype.rawValue) is not a graft_dtype")
    }
    let name = try given.name.map { (name) throws(GraftError) in try text(name, "\(label): name") }
    let rank = try integer(given.rank, "\(label): rank", in: 0...Int(GRAFT_MAX_RANK))
    described.append((name ?? "", rank, type))
  }
  return GraftPlan(byOrderOf: described)
}

@implementation @_cdecl("graft_plan_create")
public func graft_plan_create(
  _ tensors: UnsafePointer<graft_tensor>?, _ stride: Int, _ count: Int,
  _ plan: UnsafeMutablePointer<OpaquePointer?>?
) -> graft_status {
  status { () throws(GraftError) in
    let out = try required(plan, "plan")
    let made = try planByOrder(tensors, stride: stride, count: count, "tensors")
    out.pointee = try makeHandle(PlanBox(made))
  }
}

@implementation @_cdecl("graft_plan_destroy")
public func graft_plan_destroy(_ plan: OpaquePointer?) { destroyHandle(plan, PlanBox.self) }

@implementation @_cdecl("graft_plan_count")
public func graft_plan_count(_ plan: OpaquePointer?) -> Int {
  guard let box = try? object(plan, PlanBox.self, "plan") else { return 0 }
  return box.plan.entries.count
}

@implementation @_cdecl("graft_plan_get")
public func graft_plan_get(
  _ plan: OpaquePointer?, _ index: Int, _ entry: UnsafeMutablePointer<graft_plan_entry>?
) -> graft_status {
  status { () throws(GraftError) in
    let box = try object(plan, PlanBox.self, "plan")
    let index = try ordinal(index, "index", of: box.plan.entries.count)
    let place = box.plan.entries[index]
    let role: graft_role =
      switch place.role {
      case .layer: GRAFT_ROLE_LAYER
      case .follows: GRAFT_ROLE_FOLLOWS
      case .half: GRAFT_ROLE_HALF
      case .leave: GRAFT_ROLE_LEAVE
      }
    try write(
      graft_plan_entry(
        struct_size: MemoryLayout<graft_plan_entry>.size, name: box.names[index], role: role,
        rule: graft_rule(rawValue: place.rule.rawValue), feeder: box.plan.feeder(of: index),
        filter_axis: Int32(place.filterAxis), scale: place.scale ?? noTensor,
        input_scale: place.inputScale ?? noTensor),
      to: entry, name: "entry")
  }
}

/// GRAFT_NO_TENSOR
private let noTensor = -1

@implementation @_cdecl("graft_plan_set_scales")
public func graft_plan_set_scales(
  _ plan: OpaquePointer?, _ index: Int, _ scale: Int, _ input_scale: Int
) -> graft_status {
  status { () throws(GraftError) in
    let box = try object(plan, PlanBox.self, "plan")
    let last = box.plan.entries.count - 1
    func tensor(_ value: Int, _ name: String) throws(GraftError) -> Int? {
      value == noTensor ? nil : try size(value, name, in: 0...last)
    }
    try box.plan.setScales(
      try size(index, "index", in: 0...last), scale: try tensor(scale, "scale"),
      inputScale: try tensor(input_scale, "input_scale"))
  }
}

@implementation @_cdecl("graft_plan_set")
public func graft_plan_set(
  _ plan: OpaquePointer?, _ index: Int, _ role: graft_role, _ feeder: Int, _ filter_axis: Int32
) -> graft_status {
  status { () throws(GraftError) in
    let box = try object(plan, PlanBox.self, "plan")
    let index = try ordinal(index, "index", of: box.plan.entries.count)
    let axis = try integer(filter_axis, "filter_axis", in: 0...1)
    let place: GraftPlan.Role
    switch role {
    case GRAFT_ROLE_LAYER: place = .layer
    case GRAFT_ROLE_FOLLOWS:
      place = .follows(try ordinal(feeder, "feeder", of: box.plan.entries.count))
    case GRAFT_ROLE_HALF: place = .half
    case GRAFT_ROLE_LEAVE: place = .leave
    default:
      throw GraftError(.invalidArgument, "role is \(role.rawValue), which is not a graft_role")
    }
    try box.plan.set(index, to: place, filterAxis: axis)
  }
}
