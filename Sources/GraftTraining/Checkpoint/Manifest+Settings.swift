import GraftSupport
import Grafting

// The settings that a checkpoint's trainer must have again. What is not the default is left out
// where checkpoints of earlier versions did not know it.

extension Manifest {
  static func settings(of trainer: Trainer) -> JSON {
    let settings = trainer.settings
    var members: [JSON.Member] = [
      .init("batch_size", .integer(Int64(settings.batchSize))),
      .init("momentum", .number(settings.sgd.momentum)),
      .init("weight_decay", .number(settings.sgd.weightDecay)),
      .init("nesterov", .bool(settings.sgd.nesterov)),
      .init("schedule", .string("\(settings.schedule)")),
      .init("warmup_epochs", .integer(Int64(settings.warmupEpochs))),
      .init("crop_padding", .integer(Int64(settings.augmentation.cropPadding))),
      .init("flip", .bool(settings.augmentation.flip)),
      .init("teaching", .string("\(settings.teaching)")),
      .init("teachers", .integer(Int64(trainer.teachers.count))),
      .init("temperature", .number(settings.distillation.temperature)),
      .init("label_weight", .number(settings.distillation.labelWeight)),
      .init("distillation_weight", .number(settings.distillation.distillationWeight)),
      .init("evaluate", .string("\(settings.evaluate)")),
      .init("grafting", .bool(settings.grafting != nil)),
    ]
    // Only where they are not the default: checkpoints of earlier versions do not know them.
    if settings.precision != .float32 {
      members.append(.init("precision", .string("\(settings.precision)")))
    }
    if settings.sgd.decaysWeightsOnly { members.append(.init("decay_weights_only", .bool(true))) }
    if settings.sgd.clipNorm > 0 {
      members.append(
        .init(
          "clip_norm",
          settings.sgd.clipNorm.isFinite ? .number(settings.sgd.clipNorm) : .string("infinite")))
    }
    if settings.distillation.labelSmoothing > 0 {
      members.append(.init("label_smoothing", .number(settings.distillation.labelSmoothing)))
    }
    if let extras = Manifest.extras(settings.augmentation) {
      members.append(.init("augmentation", extras))
    }
    if let average = settings.average {
      members += [
        .init("ema_decay", .number(average.decay)),
        .init("ema_every", .integer(Int64(average.every))),
      ]
    }
    // A longer run is the same run, except where the schedule looks at its end.
    if settings.schedule == .cosine {
      members.append(.init("epochs", .integer(Int64(settings.epochs))))
    }
    if let graft = settings.grafting {
      members += [
        .init("graft_source", .string("\(graft.source)")),
        .init("graft_weighting", .string("\(graft.weighting)")),
        .init("graft_bins", .integer(Int64(graft.bins))),
        .init("graft_threshold", .number(graft.threshold)),
        .init("graft_compatibility", .bool(graft.compatibility)),
        .init("graft_start", .integer(Int64(graft.period.start))),
        .init("graft_every", .integer(Int64(graft.period.every))),
        .init("graft_stop", graft.period.stop.map { .integer(Int64($0)) } ?? .null),
      ]
      // Only where it is not the default: checkpoints of earlier versions do not know it.
      if graft.keepZeros { members.append(.init("graft_keep_zeros", .bool(true))) }
    }
    return .object(members)
  }

  /// What an augmentation does besides cropping and mirroring; nil for nothing.
  private static func extras(_ augmentation: Augmentation) -> JSON? {
    let (erasing, mixing) = (augmentation.erasing, augmentation.mixing)
    var members: [JSON.Member] = []
    if erasing.probability > 0 {
      members += [
        .init("erasing", .number(erasing.probability)),
        .init(
          "erasing_area", [.number(erasing.area.lowerBound), .number(erasing.area.upperBound)]),
        .init(
          "erasing_ratio", [.number(erasing.ratio.lowerBound), .number(erasing.ratio.upperBound)]),
      ]
    }
    if mixing.isOn {
      members += [
        .init("mixup", .number(mixing.mixup)), .init("cutmix", .number(mixing.cutmix)),
        .init("mixing", .number(mixing.probability)),
      ]
    }
    return members.isEmpty ? nil : .object(members)
  }

  /// What a network has otherwise than the trainer.
  static func own(_ settings: MemberSettings) -> JSON {
    var members: [JSON.Member] = []
    if let decay = settings.weightDecay { members.append(.init("weight_decay", .number(decay))) }
    if let only = settings.decaysWeightsOnly {
      members.append(.init("decay_weights_only", .bool(only)))
    }
    if let smoothing = settings.labelSmoothing {
      members.append(.init("label_smoothing", .number(smoothing)))
    }
    if let augmentation = settings.augmentation {
      members += [
        .init("crop_padding", .integer(Int64(augmentation.cropPadding))),
        .init("flip", .bool(augmentation.flip)),
        .init("augmentation", extras(augmentation) ?? .null),
      ]
    }
    return .object(members)
  }
}
