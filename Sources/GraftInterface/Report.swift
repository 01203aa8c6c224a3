import CGraft
import Grafting
import GraftSupport

/// What a `graft_report *` stands for: made before the graft, filled by it.
final class ReportBox {
  let names: NameTable
  var report: GraftReport?

  init(_ plan: GraftPlan) throws(GraftError) { names = try NameTable(plan.entries.map(\.name)) }
}

@implementation @_cdecl("graft_report_destroy")
public func graft_report_destroy(_ report: OpaquePointer?) {
  destroyHandle(report, ReportBox.self)
}

@implementation @_cdecl("graft_report_layer_count")
public func graft_report_layer_count(_ report: OpaquePointer?) -> Int {
  (try? object(report, ReportBox.self, "report"))?.report?.layers.count ?? 0
}

@implementation @_cdecl("graft_report_network_count")
public func graft_report_network_count(_ report: OpaquePointer?) -> Int {
  (try? object(report, ReportBox.self, "report"))?.report?.networkCount ?? 0
}

@implementation @_cdecl("graft_report_layer")
public func graft_report_layer(
  _ report: OpaquePointer?, _ layer: Int, _ network: Int,
  _ out: UnsafeMutablePointer<graft_layer_report>?
) -> graft_status {
  status { () throws(GraftError) in
    let box = try object(report, ReportBox.self, "report")
    guard let report = box.report else {
      throw GraftError(.internal, "report: not filled")
    }
    guard report.layers.indices.contains(layer) else {
      throw GraftError(
        .invalidArgument,
        "layer is \(UInt(bitPattern: layer)), and the report has \(report.layers.count)")
    }
    let row = report.layers[layer]
    guard row.networks.indices.contains(network) else {
      throw GraftError(
        .invalidArgument,
        "network is \(UInt(bitPattern: network)), and the report has \(report.networkCount)")
    }
    let entry = row.networks[network]
    try write(
      graft_layer_report(
        struct_size: MemoryLayout<graft_layer_report>.size, name: box.names[row.tensor],
        tensor: row.tensor, source: entry.source, alpha: entry.alpha,
        entropy_before: entry.entropyBefore, entropy_after: entry.entropyAfter,
        filters: entry.filters, invalid_before: entry.invalidBefore,
        invalid_after: entry.invalidAfter, norm_before: entry.normBefore,
        norm_after: entry.normAfter, unmoved: entry.unmoved),
      to: out, name: "out")
  }
}
