import Glibc

/// How the learning rate goes over the epochs.
public enum Schedule: Equatable, Sendable {
  case constant
  /// Multiplied by `factor` after every `epochs` epochs.
  case step(epochs: Int, factor: Double)
  /// (1 + cos(pi t / T)) / 2, t the epochs done of T (Loshchilov and Hutter 2017, without
  /// restarts).
  case cosine

  /// The share of the first learning rate that epoch `epoch` (counted from 0, of `epochs`) has.
  func factor(epoch: Int, of epochs: Int) -> Double {
    switch self {
    case .constant: 1
    case .step(let every, let factor): pow(factor, Double(epoch / max(1, every)))
    case .cosine: (1 + cos(Double.pi * Double(epoch) / Double(max(1, epochs)))) / 2
    }
  }
}
