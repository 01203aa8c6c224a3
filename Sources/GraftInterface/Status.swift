import CGraft
import GraftKernels
import GraftSupport

/// Runs `body`, turning what it throws into a code and the thread's last message.
///
/// Every exported function that can fail goes through here: it checks its arguments and calls
/// inward within `body`. The host's rounding mode, flushed denormals or traps are set aside
/// meanwhile, so that they change no result.
@inline(never)  // a compiler that saw `body` here could move its arithmetic out from in between
func status(_ body: () throws(GraftError) -> Void) -> graft_status {
  let floats = gk_leave_host_floats()
  defer { gk_enter_host_floats(floats) }
  do {
    try body()
    return GRAFT_OK
  } catch {
    return report(error)
  }
}

/// Keeps the message for `graft_last_error` and returns the code.
func report(_ error: GraftError) -> graft_status {
  error.message.withCString { gk_set_last_error($0) }
  return graft_status(rawValue: UInt32(error.kind.rawValue))
}

@implementation @_cdecl("graft_last_error")
public func graft_last_error() -> UnsafePointer<CChar>? {
  gk_last_error()
}

private let statusNames: [StaticString] = [
  "GRAFT_OK", "GRAFT_INVALID_ARGUMENT", "GRAFT_SHAPE_MISMATCH", "GRAFT_NOT_FINITE",
  "GRAFT_OUT_OF_MEMORY", "GRAFT_IO", "GRAFT_FORMAT", "GRAFT_CANCELLED", "GRAFT_UNSUPPORTED",
  "GRAFT_INVALID_STATE", "GRAFT_INTERNAL",
]

@implementation @_cdecl("graft_status_name")
public func graft_status_name(_ status: graft_status) -> UnsafePointer<CChar>? {
  let index = Int(status.rawValue)
  let name: StaticString = statusNames.indices.contains(index) ? statusNames[index] : "unknown"
  return name.chars
}
