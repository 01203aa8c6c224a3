import CGraft
import GraftNetworks
import GraftSupport
import GraftTraining

// graft/trainer.h: what a run gives, and the evaluation of a network.

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
    let found = records[try ordinal(network, "network", of: records.count)]
    try write(
      graft_epoch_record(
        struct_size: MemoryLayout<graft_epoch_record>.size, epoch: Int64(found.epoch),
        learning_rate: found.learningRate, train_loss: found.train.loss,
        train_accuracy: found.train.accuracy, test_loss: found.test.loss,
        test_accuracy: found.test.accuracy,
        evaluated: found.evaluated == .beforeGraft ? GRAFT_BEFORE : GRAFT_AFTER,
        grafted: found.isGrafted ? 1 : 0, seconds: found.seconds, train_top5: found.train.topFive,
        test_top5: found.test.topFive, ema_loss: found.average.loss,
        ema_accuracy: found.average.accuracy, ema_top5: found.average.topFive,
        gradient_norm: found.gradientNorm, clipped: found.clipped),
      to: record, name: "record")
  }
}

@implementation @_cdecl("graft_trainer_step_record_count")
public func graft_trainer_step_record_count(_ trainer: OpaquePointer?) -> Int {
  (try? object(trainer, Trainer.self, "trainer"))?.stepRecords.count ?? 0
}

@implementation @_cdecl("graft_trainer_step_record")
public func graft_trainer_step_record(
  _ trainer: OpaquePointer?, _ index: Int, _ network: Int,
  _ record: UnsafeMutablePointer<graft_step_record>?
) -> graft_status {
  status { () throws(GraftError) in
    let trainer = try object(trainer, Trainer.self, "trainer")
    guard trainer.stepRecords.indices.contains(index) else {
      throw GraftError(
        .invalidArgument,
        "index is \(UInt(bitPattern: index)); there are \(trainer.stepRecords.count) evaluations "
          + "between steps")
    }
    let records = trainer.stepRecords[index]
    let found = records[try ordinal(network, "network", of: records.count)]
    try write(
      graft_step_record(
        struct_size: MemoryLayout<graft_step_record>.size, epoch: Int64(found.epoch),
        step: Int64(found.step), train_loss: found.trainLoss, test_loss: found.test.loss,
        test_accuracy: found.test.accuracy, test_top5: found.test.topFive,
        ema_loss: found.average.loss, ema_accuracy: found.average.accuracy,
        ema_top5: found.average.topFive),
      to: record, name: "record")
  }
}

/// The index of one of a trainer's networks.
private func member(_ index: Int, of trainer: Trainer) throws(GraftError) -> Int {
  guard trainer.members.indices.contains(index) else {
    throw GraftError(
      .invalidArgument,
      "network is \(UInt(bitPattern: index)); the trainer has \(trainer.members.count) networks")
  }
  return index
}

@implementation @_cdecl("graft_trainer_gradient_norm")
public func graft_trainer_gradient_norm(
  _ trainer: OpaquePointer?, _ network: Int, _ norm: UnsafeMutablePointer<Double>?
) -> graft_status {
  status { () throws(GraftError) in
    let trainer = try object(trainer, Trainer.self, "trainer")
    let norm = try required(norm, "norm")
    let found = trainer.gradientNorm(of: try member(network, of: trainer))
    guard found.isFinite else {
      throw GraftError(
        .invalidState, "the gradients' norm is not known: it is measured in a step with clip_norm")
    }
    norm.pointee = found
  }
}

@implementation @_cdecl("graft_trainer_ema")
public func graft_trainer_ema(_ trainer: OpaquePointer?, _ network: Int, _ into: OpaquePointer?)
  -> graft_status
{
  status { () throws(GraftError) in
    let trainer = try object(trainer, Trainer.self, "trainer")
    let into = try finishedNetwork(into, "into")
    try trainer.copyAverage(of: try member(network, of: trainer), into: into)
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

// MARK: Evaluation

@implementation @_cdecl("graft_network_evaluate")
public func graft_network_evaluate(
  _ network: OpaquePointer?, _ dataset: OpaquePointer?, _ batchSize: Int64,
  _ evaluation: UnsafeMutablePointer<graft_evaluation>?
) -> graft_status {
  status { () throws(GraftError) in
    _ = try writable(evaluation, "evaluation")
    let found = try evaluated(network, dataset, batchSize)
    try write(
      graft_evaluation(
        struct_size: MemoryLayout<graft_evaluation>.size, loss: found.loss,
        accuracy: found.accuracy, top5: found.topFive),
      to: evaluation, name: "evaluation")
  }
}

@implementation @_cdecl("graft_evaluate")
public func graft_evaluate(
  _ network: OpaquePointer?, _ dataset: OpaquePointer?, _ batchSize: Int64,
  _ loss: UnsafeMutablePointer<Double>?, _ accuracy: UnsafeMutablePointer<Double>?
) -> graft_status {
  status { () throws(GraftError) in
    let loss = try required(loss, "loss")
    let accuracy = try required(accuracy, "accuracy")
    let found = try evaluated(network, dataset, batchSize)
    loss.pointee = found.loss
    accuracy.pointee = found.accuracy
  }
}

private func evaluated(_ network: OpaquePointer?, _ dataset: OpaquePointer?, _ batchSize: Int64)
  throws(GraftError) -> Evaluation
{
  let network = try object(network, Network.self, "network")
  let dataset = try object(dataset, Dataset.self, "dataset")
  let batchSize = try integer(batchSize, "batch_size", in: 1...Network.largestBatch)
  guard dataset.count > 0 else { throw GraftError(.invalidArgument, "dataset has no image") }
  return try evaluate(network, on: dataset, batchSize: batchSize)
}
