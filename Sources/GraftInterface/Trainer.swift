import CGraft
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
    let network = try object(network, Network.self, "network")
    let (seed, learningRate) = try memberOptions(options)
    try trainer.add(network, seed: seed, learningRate: learningRate)
  }
}

@implementation @_cdecl("graft_trainer_add_teacher")
public func graft_trainer_add_teacher(_ trainer: OpaquePointer?, _ teacher: OpaquePointer?)
  -> graft_status
{
  status { () throws(GraftError) in
    let trainer = try object(trainer, Trainer.self, "trainer")
    try trainer.addTeacher(try object(teacher, Network.self, "teacher"))
  }
}

@implementation @_cdecl("graft_trainer_run")
public func graft_trainer_run(
  _ trainer: OpaquePointer?, _ callback: graft_callback?, _ userData: UnsafeMutableRawPointer?
) -> graft_status {
  status { () throws(GraftError) in
    let trainer = try object(trainer, Trainer.self, "trainer")
    guard let callback else { return try trainer.run() }
    try trainer.run { progress in
      var told = graft_progress(
        struct_size: MemoryLayout<graft_progress>.size,
        phase: graft_phase(rawValue: progress.phase.rawValue), epoch: Int64(progress.epoch),
        epochs: Int64(progress.epochs), step: Int64(progress.step), steps: Int64(progress.steps),
        loss: progress.loss, images_per_second: progress.imagesPerSecond,
        seconds: progress.seconds, seconds_left: progress.secondsLeft)
      return callback(&told, userData) == 0
    }
  }
}

@implementation @_cdecl("graft_trainer_epochs_done")
public func graft_trainer_epochs_done(_ trainer: OpaquePointer?) -> Int64 {
  Int64((try? object(trainer, Trainer.self, "trainer"))?.epochsDone ?? 0)
}

@implementation @_cdecl("graft_trainer_record")
public func graft_trainer_record(
  _ trainer: OpaquePointer?, _ epoch: Int64, _ network: Int,
  _ record: UnsafeMutablePointer<graft_epoch_record>?
) -> graft_status {
  status { () throws(GraftError) in
    let trainer = try object(trainer, Trainer.self, "trainer")
    guard let index = Int.checked(epoch), (1...max(1, trainer.records.count)).contains(index),
      !trainer.records.isEmpty
    else {
      throw GraftError(
        .invalidArgument, "epoch is \(epoch); finished are \(trainer.records.count), from 1 on")
    }
    let records = trainer.records[index - 1]
    let found = records[try size(network, "network", in: 0...records.count - 1)]
    try write(
      graft_epoch_record(
        struct_size: MemoryLayout<graft_epoch_record>.size, epoch: Int64(found.epoch),
        learning_rate: found.learningRate, train_loss: found.trainLoss,
        train_accuracy: found.trainAccuracy, test_loss: found.testLoss,
        test_accuracy: found.testAccuracy,
        evaluated: found.evaluated == .beforeGraft ? GRAFT_BEFORE : GRAFT_AFTER,
        grafted: found.isGrafted ? 1 : 0, seconds: found.seconds),
      to: record, name: "record")
  }
}

@implementation @_cdecl("graft_trainer_graft_report")
public func graft_trainer_graft_report(
  _ trainer: OpaquePointer?, _ epoch: Int64, _ report: UnsafeMutablePointer<OpaquePointer?>?
) -> graft_status {
  status { () throws(GraftError) in
    let trainer = try object(trainer, Trainer.self, "trainer")
    let report = try required(report, "report")
    guard let index = Int.checked(epoch), let found = trainer.reports[index],
      let first = trainer.members.first
    else {
      throw GraftError(.invalidArgument, "epoch is \(epoch); there was no graft after it")
    }
    let box = try ReportBox(try first.network.graftPlan())
    box.report = found
    report.pointee = try makeHandle(box)
  }
}

@implementation @_cdecl("graft_evaluate")
public func graft_evaluate(
  _ network: OpaquePointer?, _ dataset: OpaquePointer?, _ batchSize: Int64,
  _ loss: UnsafeMutablePointer<Double>?, _ accuracy: UnsafeMutablePointer<Double>?
) -> graft_status {
  status { () throws(GraftError) in
    let network = try object(network, Network.self, "network")
    let dataset = try object(dataset, Dataset.self, "dataset")
    let batchSize = try integer(batchSize, "batch_size", in: 1...Network.largestBatch)
    let loss = try required(loss, "loss")
    let accuracy = try required(accuracy, "accuracy")
    guard dataset.count > 0 else {
      throw GraftError(.invalidArgument, "dataset has no image")
    }
    let result = try evaluate(network, on: dataset, batchSize: batchSize)
    loss.pointee = result.loss
    accuracy.pointee = result.accuracy
  }
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
