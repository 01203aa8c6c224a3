import GraftKernels
import GraftSupport

// What an opaque `graft_... *` points to: a small box that knows what it holds. A pointer to
// something else, or a handle of another kind, is told apart where memory allows it.

private struct Box {
  var mark: UInt64
  var kind: ObjectIdentifier
  var object: Unmanaged<AnyObject>
}

private let liveMark: UInt64 = 0x4772_6166_7448_6e64  // "GraftHnd"

/// Makes a handle that holds `object` until `destroyHandle`.
func makeHandle<T: AnyObject>(_ object: T) throws(GraftError) -> OpaquePointer {
  guard let memory = gk_allocate(1, MemoryLayout<Box>.size) else {
    throw GraftError(.outOfMemory, "no memory for a handle")
  }
  memory.bindMemory(to: Box.self, capacity: 1).initialize(
    to: Box(
      mark: liveMark, kind: ObjectIdentifier(T.self),
      object: Unmanaged.passRetained(object as AnyObject)))
  return OpaquePointer(memory)
}

/// The object behind a handle.
func object<T: AnyObject>(_ handle: OpaquePointer?, _ type: T.Type, _ name: String)
  throws(GraftError) -> T
{
  let handle = try required(handle, name)
  guard UInt(bitPattern: handle) % UInt(MemoryLayout<Box>.alignment) == 0 else {
    throw GraftError(.invalidArgument, "\(name) is not a handle of this library")
  }
  let box = UnsafePointer<Box>(handle)
  guard box.pointee.mark == liveMark, box.pointee.kind == ObjectIdentifier(type) else {
    throw GraftError(
      .invalidArgument, "\(name) is not a live handle of its kind (destroyed, or of another kind)")
  }
  return unsafeDowncast(box.pointee.object.takeUnretainedValue(), to: type)
}

/// Ends a handle. NULL is allowed, and whatever is not a live handle of this kind is left alone.
func destroyHandle<T: AnyObject>(_ handle: OpaquePointer?, _ type: T.Type) {
  guard let handle, (try? object(handle, type, "handle")) != nil else { return }
  let box = UnsafeMutablePointer<Box>(handle)
  box.pointee.mark = 0
  box.pointee.object.release()
  gk_free(box)
}
