import GraftSupport
import Grafting

/// Grafts K networks of one structure in place: every network receives from its source's state
/// before this graft, more where its own layer carries less information.
///
///     var networks = [first, second]           // two arrays of tensors
///     let report = try graft(&networks)
///     print(report)
///
/// - Parameters:
///   - networks: 1 to 64, the same shapes in the same order. On an error none has changed.
///   - plan: nil makes one by order; `GraftPlan(networks[0])` makes one to edit.
///   - settings: where from and how much; the default is the paper's.
///   - dryRun: reports what would happen and writes nothing.
@discardableResult
public func graft(
  _ networks: inout [[Tensor]], plan: GraftPlan? = nil,
  with settings: GraftOperator = GraftOperator(), dryRun: Bool = false
) throws(GraftError) -> GraftReport {
  var views: [[TensorView]] = []
  for k in networks.indices {
    views.append([])
    for index in networks[k].indices {
      try networks[k][index].makeUnique()
      views[k].append(try networks[k][index].view)
    }
  }
  let report = try settings.apply(to: views, plan: plan, dryRun: dryRun)
  withExtendedLifetime(networks) {}
  return report
}

extension GraftPlan {
  /// The plan of a network by the order of its tensors.
  public init(_ network: [Tensor]) {
    self.init(byOrderOf: network.map { ($0.name, $0.shape.count, ElementType.float32) })
  }
}

/// The loss that keeps the valid filters good while others are grafted (paper, section 4):
/// label weight CE(z, y) + distillation weight T^2 KL(mean of the teachers || student).
///
/// - Parameters:
///   - student: logits, batch x classes.
///   - teachers: logits of the same shape; none leaves the second term out.
///   - labels: class numbers from 0, one a row.
///   - labelSmoothing: the share of every label's target that is spread over all classes alike.
/// - Returns: the loss, and its gradient for the student's logits.
public func distillationLoss(
  student: Tensor, teachers: [Tensor], labels: [Int], temperature: Double = 2,
  labelWeight: Double = 1, distillationWeight: Double = 1, labelSmoothing: Double = 0
) throws(GraftError) -> (loss: Double, gradient: Tensor) {
  var settings = Distillation()
  settings.temperature = temperature
  settings.labelWeight = labelWeight
  settings.distillationWeight = distillationWeight
  settings.labelSmoothing = labelSmoothing
  guard student.shape.first == labels.count else {
    throw GraftError(
      .shapeMismatch, "labels has \(labels.count) numbers, and student has shape \(student.shape)")
  }
  let gradient = try Tensor("gradient", shape: student.shape)
  let numbers = try Buffer<Int64>(count: labels.count, for: "labels")
  for (row, label) in labels.enumerated() { numbers[row] = Int64(label) }
  var views: [TensorView] = []
  for teacher in teachers { views.append(try teacher.view) }
  let loss = try settings.loss(
    student: student.view, teachers: views, labels: numbers.pointer, gradient: gradient.view)
  withExtendedLifetime((student, teachers, numbers)) {}
  return (loss, gradient)
}
