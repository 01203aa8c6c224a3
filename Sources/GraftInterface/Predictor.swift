import CGraft
import GraftNetworks
import GraftSupport

// graft/predictor.h.

private let predictorDefaults = graft_predictor_options(
  struct_size: MemoryLayout<graft_predictor_options>.size, value: -1, fold: 1, threads: 0)

@implementation @_cdecl("graft_predictor_options_init")
public func graft_predictor_options_init(
  _ options: UnsafeMutablePointer<graft_predictor_options>?, _ size: Int
) {
  fill(options, size: size, with: predictorDefaults)
}

@implementation @_cdecl("graft_predictor_create")
public func graft_predictor_create(
  _ network: OpaquePointer?, _ given: UnsafePointer<graft_predictor_options>?,
  _ predictor: UnsafeMutablePointer<OpaquePointer?>?
) -> graft_status {
  status { () throws(GraftError) in try create(network, given, predictor, takes: false) }
}

@implementation @_cdecl("graft_predictor_take")
public func graft_predictor_take(
  _ network: OpaquePointer?, _ given: UnsafePointer<graft_predictor_options>?,
  _ predictor: UnsafeMutablePointer<OpaquePointer?>?
) -> graft_status {
  status { () throws(GraftError) in try create(network, given, predictor, takes: true) }
}

private func create(
  _ network: OpaquePointer?, _ given: UnsafePointer<graft_predictor_options>?,
  _ predictor: UnsafeMutablePointer<OpaquePointer?>?, takes: Bool
) throws(GraftError) {
  let network = try object(network, Network.self, "network")
  let predictor = try required(predictor, "predictor")
  let given = try options(given, defaults: predictorDefaults, name: "options")
  let value = given.value == -1 ? nil : Network.Output(index: Int(given.value))
  // Room for one more handle: nothing may fail once the weights are gone.
  if takes { destroyHandle(try makeHandle(network), Network.self) }
  predictor.pointee = try makeHandle(
    try Predictor(
      network, value: value, folds: try flag(given.fold, "fold"), takes: takes,
      threads: try threadCount(given.threads)))
}

@implementation @_cdecl("graft_predictor_destroy")
public func graft_predictor_destroy(_ predictor: OpaquePointer?) {
  destroyHandle(predictor, Predictor.self)
}

@implementation @_cdecl("graft_predictor_output_shape")
public func graft_predictor_output_shape(
  _ predictor: OpaquePointer?, _ shape: UnsafeMutablePointer<Int64>?
) -> graft_status {
  status { () throws(GraftError) in
    let predictor = try object(predictor, Predictor.self, "predictor")
    try put(predictor.outputShape, in: shape)
  }
}

@implementation @_cdecl("graft_predictor_run")
public func graft_predictor_run(
  _ predictor: OpaquePointer?, _ images: UnsafePointer<graft_tensor>?,
  _ output: UnsafePointer<graft_tensor>?
) -> graft_status {
  status { () throws(GraftError) in
    let predictor = try object(predictor, Predictor.self, "predictor")
    try predictor.predict(try tensor(images, "images"), to: try tensor(output, "output"))
  }
}
