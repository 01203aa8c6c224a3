/* Random calls: data sets and trainers. */
#include "calls.h"

static void make_data(handles *with, int to, bytes *in) {
  int64_t n = below(in, 7), shape[] = {n, positive(in, 4), positive(in, 9), positive(in, 9)};
  int64_t labels[8], classes = positive(in, 4);
  for (int i = 0; i < 8; ++i) labels[i] = number(in, 3);
  int fits = 1;
  for (int axis = 0; axis < 4; ++axis) fits &= shape[axis] >= 0 && shape[axis] <= 16;
  graft_dataset *made = NULL;
  int kind = (int)below(in, 3);
  if (kind == 0) {
    uint8_t *pixels = NULL;
    if (DONE(graft_dataset_blank(shape, labels, classes, &pixels, &made)))
      memset(pixels, byte(in), (size_t)(n * shape[1] * shape[2] * shape[3]));
  } else if (fits) {
    size_t count = (size_t)(n * shape[1] * shape[2] * shape[3]);
    if (kind == 1) {
      uint8_t *pixels = malloc(count + 1);
      for (size_t i = 0; i < count; ++i) pixels[i] = (uint8_t)(i * 7);
      DONE(graft_dataset_bytes(pixels, shape, NULL, labels, classes, &made));
      free(pixels);
    } else {
      array images = make_array(in, GRAFT_FLOAT32, 4, shape);
      DONE(graft_dataset_arrays(tensor_of(&images, 1), labels, classes, &made));
      end_array(&images);
    }
  }
  if (made == NULL) return;
  graft_dataset_destroy(with->data[to]);
  with->data[to] = made;
}

static graft_augmentation augmentation(bytes *in) {
  graft_augmentation made;
  graft_augmentation_init(&made, sizeof made);
  made.crop_padding = number(in, 5), made.flip = (int32_t)number(in, 2);
  made.erasing = real(in) / 2, made.mixup = real(in), made.cutmix = real(in);
  made.mixing = real(in) / 2;
  if (byte(in) % 4 == 0) {
    made.erasing_area_low = real(in) / 4, made.erasing_area_high = real(in) / 2;
    made.erasing_ratio_low = real(in), made.erasing_ratio_high = real(in) * 4;
  }
  return made;
}

void call_data(handles *with, bytes *in) {
  int which = (int)below(in, 4), of = slot(in);
  if (which == 0) return make_data(with, of, in);
  graft_dataset *data = with->data[of];
  graft_dataset_info info = {.struct_size = sizeof info};
  if (!DONE(graft_dataset_get_info(data, &info)) || info.channels > 64) return;
  size_t channels = (size_t)info.channels;
  double mean[64], deviation[64];
  MUST(DONE(graft_dataset_statistics(data, mean, deviation, channels)));
  if (which == 1) {
    for (size_t c = 0; c < channels; ++c)
      if (byte(in) % 2) mean[c] = real(in), deviation[c] = real(in);
    graft_dataset *made = NULL;
    if (DONE(graft_dataset_normalise(data, mean, deviation, channels, &made))) {
      int to = slot(in);
      graft_dataset_destroy(with->data[to]);
      with->data[to] = made;
    }
    return;
  }
  int64_t shape[] = {1 + below(in, 4), info.channels, info.height, info.width};
  array images = make_array(in, GRAFT_FLOAT32, 4, shape);
  int64_t labels[8], indices[4];
  size_t count = 0;
  if (which == 2) {
    for (int i = 0; i < 4; ++i) indices[i] = number(in, info.count);
    DONE(graft_dataset_read(data, indices, (size_t)below(in, 5), tensor_of(&images, 1), labels));
  } else {
    graft_augmentation how = augmentation(in);
    int64_t other[8];
    double share[8];
    int64_t size = number(in, 5);
    DONE(graft_dataset_augmented_batch(data, &how, byte(in), number(in, 4), number(in, 4), size,
                                       tensor_of(&images, 1), size <= 8 ? labels : NULL,
                                       size <= 8 ? other : NULL, size <= 8 ? share : NULL,
                                       &count));
  }
  end_array(&images);
}

/* ---- trainers ---- */

static void make_trainer(handles *with, int to, bytes *in) {
  graft_trainer_options options;
  graft_options graft;
  graft_distillation_options distillation;
  graft_trainer_options_init(&options, sizeof options);
  graft_options_init(&graft, sizeof graft);
  graft_distillation_options_init(&distillation, sizeof distillation);
  graft_augmentation how;
  options.epochs = positive(in, 3), options.batch_size = positive(in, 4);
  options.threads = (int32_t)number(in, 4);
  options.grafting = (int32_t)number(in, 2);
  if (byte(in) % 2) {
    how = augmentation(in);
    options.augmentation = &how;
  }
  if (byte(in) % 2) {
    options.schedule = (graft_schedule)below(in, 4), options.step_epochs = number(in, 3);
    options.step_factor = real(in), options.warmup_epochs = number(in, 3);
    options.teaching = (graft_teaching)below(in, 4), options.evaluate = (graft_moment)below(in, 3);
    options.clip_norm = real(in), options.nesterov = (int32_t)number(in, 2);
    options.ema_decay = real(in) / 2, options.ema_every = number(in, 3);
    options.evaluate_ema = (int32_t)number(in, 2), options.evaluate_steps = number(in, 4);
    options.precision = (graft_precision)below(in, 3);
    distillation.label_smoothing = real(in) / 2, distillation.temperature = real(in);
  }
  if (byte(in) % 2) {
    graft.source = (graft_source)below(in, 8), graft.weighting = (graft_weighting)below(in, 6);
    graft.start = number(in, 3), graft.every = number(in, 3), graft.bins = number(in, 12);
    graft.threshold = real(in), graft.keep_zeros = (int32_t)number(in, 2);
  }
  options.save = (graft_moment)below(in, 2), options.save_every = below(in, 3);
  options.directory = "/nonexistent/run";
  graft_trainer *made = NULL;
  graft_dataset *train = with->data[slot(in)], *test = byte(in) % 2 ? with->data[slot(in)] : NULL;
  if (!DONE(graft_trainer_create(&options, &graft, &distillation, train, test, &made))) return;
  graft_trainer_destroy(with->trainer[to]);
  with->trainer[to] = made;
}

typedef struct watch {
  graft_trainer *trainer;
  bytes *in;
  int calls;
} watch;

/* What a callback may do: save, read, and be refused what it may not do. */
static int32_t watched(const graft_progress *progress, void *user_data) {
  watch *on = user_data;
  MUST(progress->step <= progress->steps || progress->phase == GRAFT_PHASE_GRAFT);
  switch (byte(on->in) % 8) {
    case 1: MUST(graft_trainer_run(on->trainer, NULL, NULL) == GRAFT_INVALID_STATE); break;
    case 2: {
      char path[128];
      strcpy(path, folder());
      strcat(path, "/within");
      DONE(graft_trainer_save(on->trainer, path));
      break;
    }
    case 3: {
      graft_epoch_record record = {.struct_size = sizeof record};
      DONE(graft_trainer_record(on->trainer, progress->epoch, 0, &record));
      break;
    }
    case 4: return 1;
    default: break;
  }
  return --on->calls < 0;
}

static void tell(handles *with, graft_trainer *trainer, bytes *in) {
  int64_t epoch = number(in, 4);
  size_t network = (size_t)number(in, 3);
  graft_epoch_record record = {.struct_size = sizeof record};
  graft_step_record step = {.struct_size = sizeof step};
  graft_report *report = NULL;
  double norm;
  DONE(graft_trainer_record(trainer, epoch, network, &record));
  DONE(graft_trainer_step_record(trainer, (size_t)number(in, 3), network, &step));
  DONE(graft_trainer_gradient_norm(trainer, network, &norm));
  DONE(graft_trainer_ema(trainer, network, with->network[slot(in)]));
  if (DONE(graft_trainer_graft_report(trainer, epoch, &report))) {
    int to = slot(in);
    graft_report_destroy(with->report[to]);
    with->report[to] = report;
  }
}

void call_trainer(handles *with, bytes *in) {
  int which = (int)below(in, 8), of = slot(in);
  graft_trainer *trainer = with->trainer[of];
  switch (which) {
    case 0: make_trainer(with, of, in); break;
    case 1: {
      graft_member_options own;
      graft_member_options_init(&own, sizeof own);
      own.learning_rate = real(in) / 10, own.seed = byte(in);
      graft_augmentation how;
      if (byte(in) % 4 == 3) {
        how = augmentation(in);
        own.augmentation = &how, own.weight_decay = real(in), own.label_smoothing = real(in);
      }
      DONE(graft_trainer_add(trainer, with->network[slot(in)], &own));
      break;
    }
    case 2: DONE(graft_trainer_add_teacher(trainer, with->network[slot(in)])); break;
    case 3: {
      watch on = {trainer, in, 20};
      DONE(graft_trainer_run(trainer, byte(in) % 8 ? watched : NULL, &on));
      break;
    }
    case 4: tell(with, trainer, in); break;
    case 5: {
      char path[128];
      strcpy(path, folder());
      strcat(path, byte(in) % 2 ? "/a" : "/b");
      if (byte(in) % 2) DONE(graft_trainer_save(trainer, path));
      else DONE(graft_trainer_load(trainer, path));
      break;
    }
    default: {
      graft_evaluation result = {.struct_size = sizeof result};
      double loss, accuracy;
      graft_network *network = with->network[slot(in)];
      graft_dataset *data = with->data[slot(in)];
      DONE(graft_network_evaluate(network, data, number(in, 5), &result));
      DONE(graft_evaluate(network, data, number(in, 5), &loss, &accuracy));
    }
  }
}
