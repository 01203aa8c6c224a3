import CGraft
import GraftKernels
import GraftNetworks
import GraftSupport
import GraftTraining
import Grafting

// graft/trainer.h: the trainer.

@implementation @_cdecl("graft_trainer_create")
public func graft_trainer_create(
  _ options: UnsafePointer<graft_trainer_options>?, _ graft: UnsafePointer<graft_options>?,
  _ distillation: UnsafePointer<graft_distillation_options>?, _ train: OpaquePointer?,
  _ test: OpaquePointer?, _ trainer: UnsafeMutablePointer<OpaquePointer?>?
) -> graft_status {
  status { () throws(GraftError) in
    let trainer = try required(trainer, "trainer")
    let settings = try trainerSettings(options, graft: graft, distillation: distillation)
    let train = try object(train, Dataset.self, "train")
    let test = test == nil ? nil : try object(test, Dataset.self, "test")
    trainer.pointee = try makeHandle(try Trainer(settings: settings, train: train, test: test))
  }
}

@implementation @_cdecl("graft_trainer_destroy")
public func graft_trainer_destroy(_ trainer: OpaquePointer?) {
  destroyHandle(trainer, Trainer.self)
}

@implementation @_cdecl("graft_trainer_add")
public func graft_trainer_add(
  _ trainer: OpaquePointer?, _ network: OpaquePointer?,
  _ options: UnsafePointer<graft_member_options>?
) -> graft_status {
  status { () throws(GraftError) in
    let trainer = try object(trainer, Trainer.self, "trainer")
    let network = try finishedNetwork(network, "network")
    try trainer.add(network, try memberSettings(options))
  }
}

@implementation @_cdecl("graft_trainer_add_teacher")
public func graft_trainer_add_teacher(_ trainer: OpaquePointer?, _ teacher: OpaquePointer?)
  -> graft_status
{
  status { () throws(GraftError) in
    let trainer = try object(trainer, Trainer.self, "trainer")
    try trainer.addTeacher(try finishedNetwork(teacher, "teacher"))
  }
}

@implementation @_cdecl("graft_trainer_run")
public func graft_trainer_run(
  _ trainer: OpaquePointer?, _ callback: graft_callback?, _ userData: UnsafeMutableRawPointer?
) -> graft_status {
  // The callback runs in the host's own floating-point state, which it may change.
  var floats = gk_leave_host_floats()
  defer { gk_enter_host_floats(floats) }
  return status { () throws(GraftError) in
    let trainer = try object(trainer, Trainer.self, "trainer")
    guard let callback else { return try trainer.run() }
    try trainer.run { progress in
      var told = graft_progress(
        struct_size: MemoryLayout<graft_progress>.size,
        phase: graft_phase(rawValue: progress.phase.rawValue), epoch: Int64(progress.epoch),
        epochs: Int64(progress.epochs), step: Int64(progress.step), steps: Int64(progress.steps),
        loss: progress.loss, images_per_second: progress.imagesPerSecond,
        seconds: progress.seconds, seconds_left: progress.secondsLeft)
      gk_enter_host_floats(floats)
      defer { floats = gk_leave_host_floats() }
      return callback(&told, userData) == 0
    }
  }
}

@implementation @_cdecl("graft_trainer_epochs_done")
public func graft_trainer_epochs_done(_ trainer: OpaquePointer?) -> Int64 {
  Int64((try? object(trainer, Trainer.self, "trainer"))?.epochsDone ?? 0)
}

// MARK: Files

@implementation @_cdecl("graft_trainer_save")
public func graft_trainer_save(_ trainer: OpaquePointer?, _ directory: UnsafePointer<CChar>?)
  -> graft_status
{
  status { () throws(GraftError) in
    let trainer = try object(trainer, Trainer.self, "trainer")
    try trainer.save(to: try text(directory, "directory"))
  }
}

@implementation @_cdecl("graft_trainer_load")
public func graft_trainer_load(_ trainer: OpaquePointer?, _ directory: UnsafePointer<CChar>?)
  -> graft_status
{
  status { () throws(GraftError) in
    let trainer = try object(trainer, Trainer.self, "trainer")
    try trainer.load(from: try text(directory, "directory"))
  }
}

@implementation @_cdecl("graft_network_save")
public func graft_network_save(_ network: OpaquePointer?, _ path: UnsafePointer<CChar>?)
  -> graft_status
{
  status { () throws(GraftError) in
    let network = try object(network, Network.self, "network")
    try network.save(to: try text(path, "path"))
  }
}

@implementation @_cdecl("graft_network_load")
public func graft_network_load(_ network: OpaquePointer?, _ path: UnsafePointer<CChar>?)
  -> graft_status
{
  status { () throws(GraftError) in
    let network = try object(network, Network.self, "network")
    try network.load(from: try text(path, "path"))
  }
}
