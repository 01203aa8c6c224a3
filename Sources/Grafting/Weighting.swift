/// *How much*: the share of its own weights that a layer keeps, from what it and its source know.
public enum Weighting: Equatable, Sendable {
  /// The adaptive coefficient on the entropies of the two layers (the paper).
  case entropy(a: Double, c: Double)
  /// The same for every tensor, whether it belongs to a layer or not: 0.5 averages, 0 hands whole
  /// networks on.
  case constant(Double)
  /// The adaptive coefficient on the sums of the layers' filters' entropies, each filter over its
  /// own range (the alternative that the paper names).
  case filterEntropy(a: Double, c: Double)
  /// The adaptive coefficient on the layers' l1 norms (the paper's ablation).
  case l1(a: Double, c: Double)
  /// A coefficient for each filter, from its batch-norm scale: |own| / (|own| + |other|). For what
  /// has no such scale, half and half. See `FilterCoefficients`.
  case filter

  /// The paper's setting.
  public static let paper = Weighting.entropy(a: 0.4, c: 500)

  /// The coefficient of a layer with information `own` whose source has `other`.
  func coefficient(own: Double, other: Double, compatibility: Bool) -> Coefficient {
    switch self {
    case .entropy(let a, let c), .filterEntropy(let a, let c), .l1(let a, let c):
      Coefficient(own: own, other: other, a: a, c: c, compatibility: compatibility)
    case .constant(let alpha): Coefficient(alpha)
    case .filter: .half
    }
  }

  /// The coefficient of a tensor that belongs to no layer.
  var withoutLayer: Coefficient {
    switch self {
    case .entropy, .filterEntropy, .l1, .filter: .half
    case .constant(let alpha): Coefficient(alpha)
    }
  }
}
