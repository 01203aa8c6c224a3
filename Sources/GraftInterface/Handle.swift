import GraftKernels
import GraftSupport

// What an opaque `graft_... *` stands for: an object and its kind, in the kernels' table of live
// handles. A handle is a number that is never given out twice and never read through, so that
// whatever else a caller passes is told from it.

private func kind<T: AnyObject>(_ type: T.Type) -> UInt { UInt(bitPattern: ObjectIdentifier(type)) }

/// Makes a handle that holds `object` until `destroyHandle`.
func makeHandle<T: AnyObject>(_ object: T) throws(GraftError) -> OpaquePointer {
  let held = Unmanaged.passRetained(object)
  guard let handle = OpaquePointer(bitPattern: gk_handle_make(kind(T.self), held.toOpaque())) else {
    held.release()
    throw GraftError(.outOfMemory, "no memory for a handle")
  }
  return handle
}

/// The object behind a handle.
func object<T: AnyObject>(_ handle: OpaquePointer?, _ type: T.Type, _ name: String)
  throws(GraftError) -> T
{
  let handle = try required(handle, name)
  var found: UInt = 0
  guard let object = gk_handle_find(UInt(bitPattern: handle), &found) else {
    throw GraftError(
      .invalidArgument, "\(name) is not a live handle of this library (has it been destroyed?)")
  }
  guard found == kind(type) else {
    throw GraftError(.invalidArgument, "\(name) is a handle of another kind")
  }
  return Unmanaged<T>.fromOpaque(object).takeUnretainedValue()
}

/// Ends a handle. NULL is allowed, and whatever is not a live handle of this kind is left alone.
func destroyHandle<T: AnyObject>(_ handle: OpaquePointer?, _ type: T.Type) {
  var found: UInt = 0
  let handle = UInt(bitPattern: handle)
  guard gk_handle_find(handle, &found) != nil, found == kind(type),
    let object = gk_handle_end(handle)
  else { return }
  Unmanaged<T>.fromOpaque(object).release()
}
