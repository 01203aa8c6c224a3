import GraftKernels

/// Runs `body` for 0 to `count` - 1, on up to `threads` threads, one number on one thread. What is
/// run side by side must not share anything that it changes.
///
/// - Throws: the error of the lowest number that failed, after all have ended.
public func concurrently(
  _ count: Int, threads: Int, _ body: (Int) throws(GraftError) -> Void
) throws(GraftError) {
  try concurrently(count, threads: threads) { (index, _) throws(GraftError) in try body(index) }
}

/// The same, telling the body which of the threads runs it, 0 to `threads` - 1: what it may use
/// alone.
public func concurrently(
  _ count: Int, threads: Int, _ body: (_ index: Int, _ worker: Int) throws(GraftError) -> Void
) throws(GraftError) {
  if threads <= 1 || count <= 1 {
    for index in 0..<count { try body(index, 0) }
    return
  }
  let errors = try Buffer<Unmanaged<ErrorBox>?>(count: count, for: "errors of parallel work")
  withoutActuallyEscaping(body) { body in
    var job = Job(body: body, errors: errors.pointer)
    withUnsafeMutablePointer(to: &job) { job in
      gk_parallel_for(
        Int32(clamping: threads), Int64(count),
        { context, index, worker in
          guard let job = context?.assumingMemoryBound(to: Job.self) else { return }
          do throws(GraftError) {
            try job.pointee.body(Int(index), Int(worker))
          } catch {
            job.pointee.errors[Int(index)] = .passRetained(ErrorBox(error))
          }
        }, job)
    }
  }
  let thrown = (0..<count).compactMap { errors[$0]?.takeRetainedValue().error }
  if let first = thrown.first { throw first }
}

private struct Job {
  let body: (Int, Int) throws(GraftError) -> Void
  let errors: UnsafeMutablePointer<Unmanaged<ErrorBox>?>
}

private final class ErrorBox {
  let error: GraftError
  init(_ error: GraftError) { self.error = error }
}
