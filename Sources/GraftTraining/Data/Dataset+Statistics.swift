import GraftKernels
import GraftSupport

extension Dataset {
  /// Mean and standard deviation (divided by the count) of every channel over all images, as they
  /// are shown: 0 and 1 after normalising with a data set's own statistics.
  public func statistics() -> (mean: [Double], deviation: [Double]) {
    let size = count * height * width
    var means: [Double] = []
    var deviations: [Double] = []
    for channel in 0..<channels {
      var (mean, variance) = (0.0, 0.0)
      switch pixels {
      case .bytes(let bytes):
        gk_byte_moments(bytes.pointer + channel, Int64(size), Int64(channels), &mean, &variance)
      case .floats(let floats):
        gk_float_moments(floats.pointer + channel, Int64(size), Int64(channels), &mean, &variance)
      }
      means.append((mean - self.mean[channel]) / deviation[channel])
      deviations.append(variance.squareRoot() / deviation[channel])
    }
    return (means, deviations)
  }

  /// The same images, shown as (x - mean) / deviation per channel of what they are shown as now;
  /// shared, not copied.
  ///
  /// - Throws: `.shapeMismatch` where there are not as many numbers as channels;
  ///   `.invalidArgument` for a number that is not finite or a deviation that is not positive.
  public func normalised(mean: [Double], deviation: [Double]) throws(GraftError) -> Dataset {
    guard mean.count == channels, deviation.count == channels else {
      throw GraftError(
        .shapeMismatch,
        "\(mean.count) means and \(deviation.count) deviations for \(channels) channels")
    }
    let combinedMean = try Buffer<Double>(count: channels, for: "a data set")
    let combinedDeviation = try Buffer<Double>(count: channels, for: "a data set")
    for channel in 0..<channels {
      // ((v - m) / d - m') / d' = (v - (m + d m')) / (d d')
      combinedMean[channel] = self.mean[channel] + self.deviation[channel] * mean[channel]
      combinedDeviation[channel] = self.deviation[channel] * deviation[channel]
      guard mean[channel].isFinite, combinedMean[channel].isFinite else {
        throw GraftError(
          .invalidArgument, "mean[\(channel)] is \(mean[channel]); it must be finite")
      }
      guard deviation[channel] > 0, combinedDeviation[channel].isNormal else {
        throw GraftError(
          .invalidArgument,
          "deviation[\(channel)] is \(deviation[channel]); it must be greater than 0 and finite")
      }
    }
    return try Dataset(
      pixels: pixels, labels: labels,
      shape: Shape(count: count, channels: channels, height: height, width: width),
      classes: classes, mean: combinedMean, deviation: combinedDeviation)
  }
}
