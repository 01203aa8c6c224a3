import CGraft
import Grafting
import GraftSupport

private var distillationDefaults: graft_distillation_options {
  graft_distillation_options(
    struct_size: MemoryLayout<graft_distillation_options>.size, temperature: 2, label_weight: 1,
    distillation_weight: 1, threads: 0, label_smoothing: 0)
}

@implementation @_cdecl("graft_distillation_options_init")
public func graft_distillation_options_init(
  _ options: UnsafeMutablePointer<graft_distillation_options>?, _ size: Int
) {
  fill(options, size: size, with: distillationDefaults)
}

@implementation @_cdecl("graft_distillation_loss")
public func graft_distillation_loss(
  _ student: UnsafePointer<graft_tensor>?,
  _ teachers: UnsafePointer<UnsafePointer<graft_tensor>?>?, _ teacher_count: Int,
  _ labels: UnsafePointer<Int64>?, _ options: UnsafePointer<graft_distillation_options>?,
  _ loss: UnsafeMutablePointer<Double>?, _ gradient: UnsafePointer<graft_tensor>?
) -> graft_status {
  status { () throws(GraftError) in
    let loss = try required(loss, "loss")
    let given = try distillationLoss(options)
    let count = try size(teacher_count, "teacher_count", in: 0...Distillation.maxTeachers)
    var described: [TensorView] = []
    if count > 0 {
      let teachers = try required(teachers, "teachers")
      for m in 0..<count { described.append(try tensor(teachers[m], "teachers[\(m)]")) }
    }
    loss.pointee = try given.loss(
      student: tensor(student, "student"), teachers: described, labels: labels,
      gradient: gradient == nil ? nil : tensor(gradient, "gradient"))
  }
}

/// The loss that a caller's options describe.
func distillationLoss(
  _ pointer: UnsafePointer<graft_distillation_options>?, name: String = "options"
) throws(GraftError) -> Distillation {
  let given = try options(pointer, defaults: distillationDefaults, name: name)
  let of = name == "options" ? "" : "\(name)->"
  var result = Distillation()
  guard given.temperature > 0, given.temperature.isFinite else {
    throw GraftError(
      .invalidArgument, "\(of)temperature is \(given.temperature); it must be finite and above 0")
  }
  result.temperature = given.temperature
  result.labelWeight = try number(given.label_weight, "\(of)label_weight", in: nonNegative)
  result.distillationWeight = try number(
    given.distillation_weight, "\(of)distillation_weight", in: nonNegative)
  result.threads = try threadCount(given.threads, "\(of)threads")
  result.labelSmoothing = try number(given.label_smoothing, "\(of)label_smoothing", in: 0...1)
  return result
}
