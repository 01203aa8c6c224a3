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
  directory: nil, decay_weights_only: 0, clip_norm: 0, augmentation: nil, ema_decay: 0,
  ema_every: 1, evaluate_ema: 0, evaluate_steps: 0, precision: GRAFT_PRECISION_FLOAT32)

@implementation @_cdecl("graft_trainer_options_init")
public func graft_trainer_options_init(
  _ options: UnsafeMutablePointer<graft_trainer_options>?, _ size: Int
) {
  fill(options, size: size, with: trainerDefaults)
}

private let memberDefaults = graft_member_options(
  struct_size: MemoryLayout<graft_member_options>.size, seed: 0, learning_rate: 0.1,
  weight_decay: -1, decay_weights_only: -1, label_smoothing: -1, augmentation: nil)

@implementation @_cdecl("graft_member_options_init")
public func graft_member_options_init(
  _ options: UnsafeMutablePointer<graft_member_options>?, _ size: Int
) {
  fill(options, size: size, with: memberDefaults)
}

/// A member's options. Ranges are checked by the trainer.
func memberSettings(_ pointer: UnsafePointer<graft_member_options>?) throws(GraftError)
  -> MemberSettings
{
  let given = try options(pointer, defaults: memberDefaults, name: "options")
  var settings = MemberSettings()
  settings.seed = given.seed
  settings.learningRate = given.learning_rate
  if given.weight_decay != -1 { settings.weightDecay = given.weight_decay }
  if given.decay_weights_only != -1 {
    settings.decaysWeightsOnly = try flag(given.decay_weights_only, "decay_weights_only")
  }
  if given.label_smoothing != -1 { settings.labelSmoothing = given.label_smoothing }
  if given.augmentation != nil {
    settings.augmentation = try imageAugmentation(given.augmentation)
  }
  return settings
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
  settings.sgd.decaysWeightsOnly = try flag(given.decay_weights_only, "decay_weights_only")
  settings.sgd.clipNorm = given.clip_norm
  settings.augmentation = Augmentation(
    cropPadding: Int(clamping: given.crop_padding), flip: try flag(given.flip, "flip"))
  if given.augmentation != nil {
    settings.augmentation = try imageAugmentation(given.augmentation)
  }
  settings.averageDecay = given.ema_decay
  settings.averageEvery = Int(clamping: given.ema_every)
  settings.evaluatesAverage = try flag(given.evaluate_ema, "evaluate_ema")
  settings.evaluateSteps = Int(clamping: given.evaluate_steps)
  settings.precision = try precision(given.precision)
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
  if given.directory != nil {
    settings.directory = absolutePath(try text(given.directory, "directory"))
  }
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
