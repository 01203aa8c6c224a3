import CGraft
import GraftSupport
import GraftTraining
import Grafting

// graft/trainer.h: options.

private let trainerDefaults = graft_trainer_options(
  struct_size: MemoryLayout<graft_trainer_options>.size, epochs: 200, batch_size: 128, threads: 0,
  momentum: 0.9, weight_decay: 5e-4, nesterov: 0, schedule: GRAFT_SCHEDULE_STEP, step_epochs: 60,
  step_factor: 0.1, warmup_epochs: 0, crop_padding: 4, flip: 1, grafting: 0,
  teaching: GRAFT_TEACHING_GIVEN, evaluate: GRAFT_AFTER, save: GRAFT_AFTER, save_every: 0,
  directory: nil)

@implementation @_cdecl("graft_trainer_options_init")
public func graft_trainer_options_init(
  _ options: UnsafeMutablePointer<graft_trainer_options>?, _ size: Int
) {
  fill(options, size: size, with: trainerDefaults)
}

private let memberDefaults = graft_member_options(
  struct_size: MemoryLayout<graft_member_options>.size, seed: 0, learning_rate: 0.1)

@implementation @_cdecl("graft_member_options_init")
public func graft_member_options_init(
  _ options: UnsafeMutablePointer<graft_member_options>?, _ size: Int
) {
  fill(options, size: size, with: memberDefaults)
}

/// A member's options, checked.
func memberOptions(_ pointer: UnsafePointer<graft_member_options>?) throws(GraftError) -> (
  seed: UInt64, learningRate: Double
) {
  let given = try options(pointer, defaults: memberDefaults, name: "options")
  return (given.seed, given.learning_rate)
}

/// A trainer's settings from a caller's three option structs. Ranges are checked by the trainer;
/// here only what a Swift value could not hold.
func trainerSettings(
  _ pointer: UnsafePointer<graft_trainer_options>?, graft: UnsafePointer<graft_options>?,
  distillation: UnsafePointer<graft_distillation_options>?
) throws(GraftError) -> TrainerSettings {
  let given = try options(pointer, defaults: trainerDefaults, name: "options")
  var settings = TrainerSettings()
  settings.epochs = Int(clamping: given.epochs)
  settings.batchSize = Int(clamping: given.batch_size)
  settings.threads = Int(given.threads)
  settings.sgd.momentum = given.momentum
  settings.sgd.weightDecay = given.weight_decay
  settings.sgd.nesterov = try flag(given.nesterov, "nesterov")
  switch given.schedule {
  case GRAFT_SCHEDULE_CONSTANT: settings.schedule = .constant
  case GRAFT_SCHEDULE_STEP:
    settings.schedule = .step(epochs: Int(clamping: given.step_epochs), factor: given.step_factor)
  case GRAFT_SCHEDULE_COSINE: settings.schedule = .cosine
  default:
    throw GraftError(
      .invalidArgument, "schedule is \(given.schedule.rawValue); it must be a graft_schedule")
  }
  settings.warmupEpochs = Int(clamping: given.warmup_epochs)
  settings.cropPadding = Int(clamping: given.crop_padding)
  settings.flip = try flag(given.flip, "flip")
  let (graft, isDryRun) = try graftOperator(graft, name: "graft")
  if try flag(given.grafting, "grafting") {
    guard !isDryRun else {
      throw GraftError(.invalidArgument, "graft->dry_run is 1; a trainer that grafts writes")
    }
    settings.grafting = graft
  }
  settings.distillation = try distillationLoss(distillation, name: "distillation")
  guard let teaching = TrainerSettings.Teaching(rawValue: Int(given.teaching.rawValue)) else {
    throw GraftError(
      .invalidArgument, "teaching is \(given.teaching.rawValue); it must be a graft_teaching")
  }
  settings.teaching = teaching
  settings.evaluate = try moment(given.evaluate, "evaluate")
  settings.save = try moment(given.save, "save")
  settings.saveEvery = Int(clamping: given.save_every)
  if given.directory != nil { settings.directory = try text(given.directory, "directory") }
  return settings
}

private func moment(_ given: graft_moment, _ name: String) throws(GraftError)
  -> TrainerSettings.Moment
{
  guard let moment = TrainerSettings.Moment(rawValue: Int(given.rawValue)) else {
    throw GraftError(
      .invalidArgument, "\(name) is \(given.rawValue); it must be GRAFT_BEFORE or GRAFT_AFTER")
  }
  return moment
}
