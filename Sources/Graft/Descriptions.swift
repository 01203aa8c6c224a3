import Grafting

// Plans and reports as text. (No Foundation: hence the few lines that write a number.)

extension GraftReport: CustomStringConvertible {
  /// A line for every layer of every network.
  public var description: String {
    var rows = [
      [
        "layer", "net", "from", "alpha", "entropy", "after", "filters", "invalid", "after", "norm",
        "after",
      ]
    ]
    for layer in layers {
      for (k, entry) in layer.networks.enumerated() {
        rows.append([
          k == 0 ? layer.name : "", "\(k)", "\(entry.source)", decimal(entry.alpha),
          decimal(entry.entropyBefore), decimal(entry.entropyAfter), "\(entry.filters)",
          "\(entry.invalidBefore)", "\(entry.invalidAfter)", decimal(entry.normBefore),
          decimal(entry.normAfter),
        ])
      }
    }
    return table(rows, leading: 0)
  }
}

extension GraftPlan: CustomStringConvertible {
  /// A line for every tensor.
  public var description: String {
    var rows = [["", "tensor", "role", "rule", "feeder"]]
    for (index, entry) in entries.enumerated() {
      var (role, feeder) = ("\(entry.role)", "")
      if case .follows(let layer) = entry.role {
        (role, feeder) = ("follows", entries[layer].name)
      }
      rows.append(["\(index)", entry.name, role, "\(entry.rule)", feeder])
    }
    return table(rows, leading: 1...4)
  }
}

/// Columns of equal width, those of `leading` with their text first.
private func table(_ rows: [[String]], leading: ClosedRange<Int>) -> String {
  let columns = rows.first?.count ?? 0
  let widths = (0..<columns).map { column in rows.map { $0[column].count }.max() ?? 0 }
  return rows.map { row in
    var line = ""
    for (column, cell) in row.enumerated() {
      let space = String(repeating: " ", count: widths[column] - cell.count)
      line += (column == 0 ? "" : "  ") + (leading.contains(column) ? cell + space : space + cell)
    }
    while line.last == " " { line.removeLast() }
    return line
  }.joined(separator: "\n")
}

private func table(_ rows: [[String]], leading: Int) -> String {
  table(rows, leading: leading...leading)
}

/// A number with four decimals; large ones as Swift writes them.
private func decimal(_ value: Double) -> String {
  let units = (abs(value) * 10_000).rounded()
  guard units < 1e15 else { return "\(value)" }
  let (whole, rest) = Int(units).quotientAndRemainder(dividingBy: 10_000)
  let digits = String(rest)
  let sign = value < 0 && units > 0 ? "-" : ""
  return "\(sign)\(whole)." + String(repeating: "0", count: 4 - digits.count) + digits
}
