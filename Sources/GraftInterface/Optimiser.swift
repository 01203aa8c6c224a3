import CGraft
import GraftNetworks
import GraftSupport
import GraftTraining

// graft/network.h: the optimiser.

private let defaults: graft_sgd_options = {
  let settings = SGD.Settings()
  return graft_sgd_options(
    struct_size: MemoryLayout<graft_sgd_options>.size, learning_rate: 0.1,
    momentum: settings.momentum, weight_decay: settings.weightDecay, nesterov: 0,
    decay_weights_only: 0, clip_norm: 0)
}()

@implementation @_cdecl("graft_sgd_options_init")
public func graft_sgd_options_init(
  _ options: UnsafeMutablePointer<graft_sgd_options>?, _ size: Int
) {
  fill(options, size: size, with: defaults)
}

@implementation @_cdecl("graft_sgd_create")
public func graft_sgd_create(
  _ network: OpaquePointer?, _ given: UnsafePointer<graft_sgd_options>?,
  _ optimiser: UnsafeMutablePointer<OpaquePointer?>?
) -> graft_status {
  status { () throws(GraftError) in
    let network = try finishedNetwork(network, "network")
    let optimiser = try required(optimiser, "optimiser")
    let given = try options(given, defaults: defaults, name: "options")
    var settings = SGD.Settings()
    settings.momentum = given.momentum
    settings.weightDecay = given.weight_decay
    settings.nesterov = try flag(given.nesterov, "nesterov")
    settings.decaysWeightsOnly = try flag(given.decay_weights_only, "decay_weights_only")
    settings.clipNorm = given.clip_norm
    optimiser.pointee = try makeHandle(
      try SGD(network: network, settings: settings, learningRate: given.learning_rate))
  }
}

@implementation @_cdecl("graft_sgd_destroy")
public func graft_sgd_destroy(_ optimiser: OpaquePointer?) {
  destroyHandle(optimiser, SGD.self)
}

@implementation @_cdecl("graft_sgd_set_learning_rate")
public func graft_sgd_set_learning_rate(_ optimiser: OpaquePointer?, _ learningRate: Double)
  -> graft_status
{
  status { () throws(GraftError) in
    let optimiser = try object(optimiser, SGD.self, "optimiser")
    try SGD.check(learningRate, "learning_rate")
    optimiser.learningRate = learningRate
  }
}

@implementation @_cdecl("graft_sgd_step")
public func graft_sgd_step(_ optimiser: OpaquePointer?) -> graft_status {
  status { () throws(GraftError) in
    try object(optimiser, SGD.self, "optimiser").step()
  }
}

@implementation @_cdecl("graft_sgd_gradient_norm")
public func graft_sgd_gradient_norm(
  _ optimiser: OpaquePointer?, _ norm: UnsafeMutablePointer<Double>?
) -> graft_status {
  status { () throws(GraftError) in
    let optimiser = try object(optimiser, SGD.self, "optimiser")
    let norm = try required(norm, "norm")
    guard optimiser.gradientNorm.isFinite else {
      throw GraftError(
        .invalidState, "the gradients' norm is not known: it is measured in a step with clip_norm")
    }
    norm.pointee = optimiser.gradientNorm
  }
}

@implementation @_cdecl("graft_sgd_momentum")
public func graft_sgd_momentum(
  _ optimiser: OpaquePointer?, _ index: Int, _ tensor: UnsafeMutablePointer<graft_tensor>?
) -> graft_status {
  status { () throws(GraftError) in
    let optimiser = try object(optimiser, SGD.self, "optimiser")
    let tensors = optimiser.network.tensors
    let found = tensors[try ordinal(index, "index", of: tensors.count)]
    guard let view = try optimiser.momentumView(index) else {
      throw GraftError(.invalidArgument, "index is that of \(found.name), a buffer, which has no momentum")
    }
    let description = try found.description()
    try write(
      graft_tensor(
        struct_size: MemoryLayout<graft_tensor>.size, name: description.name, data: view.data,
        dtype: GRAFT_FLOAT32, rank: Int32(view.shape.count), shape: description.shape,
        strides: nil),
      to: tensor, name: "tensor")
  }
}
