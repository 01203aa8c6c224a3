import GraftKernels
import GraftSupport

/// The loss that keeps the valid filters good while others are grafted (paper, section 4):
///
///     label_weight CE(z, y) + distillation_weight T^2 KL(p̄_T || softmax(z / T)),
///
/// p̄_T the mean of the teachers' softmax at temperature T; both terms are means over the batch.
public struct Distillation: Sendable {
  /// The most teachers.
  public static let maxTeachers = 64

  public var temperature = 2.0
  public var labelWeight = 1.0
  public var distillationWeight = 1.0
  /// The share of every label's target that is spread over all classes alike, 0 to 1, as
  /// torch.nn.CrossEntropyLoss has it (Szegedy et al. 2016).
  public var labelSmoothing = 0.0
  /// 0 takes what OpenMP would. Results are the same at any count.
  public var threads = 0

  public init() {}

  /// The second labels of a batch of mixed images: a row's target is its label by `shares[row]`,
  /// and `others[row]` by the rest.
  public struct MixedLabels {
    public let others: UnsafePointer<Int64>
    /// Each 0 to 1.
    public let shares: UnsafePointer<Double>

    public init(others: UnsafePointer<Int64>, shares: UnsafePointer<Double>) {
      self.others = others
      self.shares = shares
    }
  }

  /// The loss, and its gradient for the student's logits.
  ///
  /// - Parameters:
  ///   - student: batch x classes, float32 or float64.
  ///   - teachers: of the same shape and type; none leaves the second term out.
  ///   - labels: `batch` class numbers; nil only where `labelWeight` is 0.
  ///   - mixed: nil where no image is mixed.
  ///   - gradient: receives d loss / d z; may be the student's own memory.
  public func loss(
    student: TensorView, teachers: [TensorView], labels: UnsafePointer<Int64>?,
    mixed: MixedLabels? = nil, gradient: TensorView? = nil
  ) throws(GraftError) -> Double {
    try check(student, teachers, labels, gradient)
    if let mixed {
      try checkLabels(mixed.others, batch: student.shape[0], classes: student.shape[1])
    }
    let (batch, classes) = (student.shape[0], student.shape[1])
    let described = teachers.map(describe)
    let losses = try Buffer<Double>(count: batch, for: "losses")
    let scratch = try Buffer<Double>(
      count: Int(gk_threads(Int32(threads))) * Int(gk_distillation_scratch(Int64(classes))),
      for: "a loss")
    return described.withUnsafeBufferPointer { described in
      var what = gk_distillation(
        batch: Int64(batch), classes: Int64(classes), teachers: Int64(teachers.count),
        student: describe(student), teacher: described.baseAddress, labels: labels,
        others: mixed?.others, shares: mixed?.shares, smoothing: labelSmoothing,
        gradient: gradient.map(describe) ?? gk_logits(), temperature: temperature,
        label_weight: labelWeight, distillation_weight: distillationWeight)
      return gk_distillation_loss(&what, Int32(threads), losses.pointer, scratch.pointer)
    }
  }

  private func describe(_ logits: TensorView) -> gk_logits {
    gk_logits(
      data: logits.data, wide: logits.type == .float64 ? 1 : 0,
      row_stride: Int64(logits.strides[0]), column_stride: Int64(logits.strides[1]))
  }

  private func check(
    _ student: TensorView, _ teachers: [TensorView], _ labels: UnsafePointer<Int64>?,
    _ gradient: TensorView?
  ) throws(GraftError) {
    func demand(_ allowed: Bool, _ message: @autoclosure () -> String) throws(GraftError) {
      if !allowed { throw GraftError(.invalidArgument, message()) }
    }
    try demand(
      temperature > 0 && temperature.isFinite,
      "temperature is \(temperature); it must be finite and above 0")
    for (weight, name) in [
      (labelWeight, "label_weight"), (distillationWeight, "distillation_weight"),
    ] {
      try demand(
        weight >= 0 && weight.isFinite, "\(name) is \(weight); it must be finite and at least 0")
    }
    try demand(
      labelSmoothing >= 0 && labelSmoothing <= 1,
      "label_smoothing is \(labelSmoothing); allowed are 0 to 1")
    try demand((0...256).contains(threads), "threads is \(threads); allowed are 0 to 256")
    try demand(
      teachers.count <= Self.maxTeachers,
      "teacher_count is \(teachers.count); allowed are 0 to \(Self.maxTeachers)")
    try checkLogits(student, "student", like: student)
    for (index, teacher) in teachers.enumerated() {
      try checkLogits(teacher, "teachers[\(index)]", like: student)
    }
    try checkLabels(labels, batch: student.shape[0], classes: student.shape[1])
    // The largest logits that there can be, and a margin.
    let farthest = student.type == .float32 ? 1e39 : Double.greatestFiniteMagnitude / 1e30
    let most = labelWeight + distillationWeight * temperature
    let square = distillationWeight * temperature * temperature
    try demand(
      (most * farthest + square * 1e3).isFinite
        && (student.type != .float32 || most < Double(Float.greatestFiniteMagnitude)),
      "temperature \(temperature) and weights \(labelWeight), \(distillationWeight) are too large: "
        + "the loss would overflow")
    if let gradient { try checkGradient(gradient, student, teachers) }
  }

  private func checkLogits(_ logits: TensorView, _ label: String, like student: TensorView)
    throws(GraftError)
  {
    guard logits.type == .float32 || logits.type == .float64 else {
      throw GraftError(
        .unsupported, "\(label): the type is \(logits.type); supported are float32 and float64")
    }
    guard logits.shape.count == 2, logits.count > 0 else {
      throw GraftError(
        .invalidArgument,
        "\(label) has shape \(logits.shape); it must be batch x classes, not empty")
    }
    guard logits.shape == student.shape, logits.type == student.type else {
      throw GraftError(
        .shapeMismatch,
        "\(label) has shape \(logits.shape) of \(logits.type), and student \(student.shape) of "
          + "\(student.type)")
    }
    var described = describe(logits)
    let row = gk_first_row_not_finite(&described, Int64(logits.shape[0]), Int64(logits.shape[1]))
    guard row < 0 else {
      throw GraftError(.notFinite, "\(label): row \(row) holds logits that are not finite")
    }
    guard logits.type == .float32 || farthestLogit(logits) < Self.limit else {
      throw GraftError(.invalidArgument, "\(label) holds logits beyond \(Self.limit)")
    }
  }

  /// Distances of float64 logits may not overflow.
  private static let limit = 1e270

  private func farthestLogit(_ logits: TensorView) -> Double {
    guard let values = logits.data?.assumingMemoryBound(to: Double.self) else { return 0 }
    var farthest = 0.0
    for row in 0..<logits.shape[0] {
      for column in 0..<logits.shape[1] {
        let value = values[row * logits.strides[0] + column * logits.strides[1]]
        farthest = max(farthest, abs(value))
      }
    }
    return farthest
  }

  private func checkLabels(_ labels: UnsafePointer<Int64>?, batch: Int, classes: Int)
    throws(GraftError)
  {
    guard labelWeight > 0 else { return }
    guard let labels else {
      throw GraftError(
        .invalidArgument, "labels is NULL, and label_weight is \(labelWeight); it must be 0 then")
    }
    for row in 0..<batch where labels[row] < 0 || labels[row] >= classes {
      throw GraftError(
        .invalidArgument, "labels[\(row)] is \(labels[row]); allowed are 0 to \(classes - 1)")
    }
  }

  private func checkGradient(
    _ gradient: TensorView, _ student: TensorView, _ teachers: [TensorView]
  ) throws(GraftError) {
    guard gradient.shape == student.shape, gradient.type == student.type else {
      throw GraftError(
        .shapeMismatch,
        "gradient has shape \(gradient.shape) of \(gradient.type), and student \(student.shape) of "
          + "\(student.type)")
    }
    try gradient.checkWritable()
    let place = Place(network: 0, tensor: 0, view: gradient)
    let own = Place(network: 1, tensor: 0, view: student)
    if !place.isSame(as: own), !sharedPlaces([place, own]).isEmpty {
      throw GraftError(.invalidArgument, "gradient and student share a part of their memory")
    }
    for (index, teacher) in teachers.enumerated() {
      let other = Place(network: 1, tensor: 0, view: teacher)
      guard sharedPlaces([place, other]).isEmpty else {
        throw GraftError(.invalidArgument, "gradient and teachers[\(index)] share memory")
      }
    }
  }
}
