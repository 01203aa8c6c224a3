/** @file
 * The trainer: K networks side by side, grafting each other at the end of an epoch, with
 * distillation while they train; evaluation, progress, checkpoints.
 */
#ifndef GRAFT_TRAINER_H
#define GRAFT_TRAINER_H

#include "augmentation.h"
#include "dataset.h"
#include "distillation.h"
#include "grafting.h"
#include "network.h"
#include "status.h"

#ifdef __cplusplus
extern "C" {
#endif

/** K networks in training. One thread at a time may use it. */
typedef struct graft_trainer graft_trainer;

/** How the learning rate goes over the epochs. */
typedef enum graft_schedule {
  GRAFT_SCHEDULE_CONSTANT = 0,
  /** Multiplied by step_factor after every step_epochs epochs. */
  GRAFT_SCHEDULE_STEP = 1,
  /** lr (1 + cos(pi t / epochs)) / 2, t the number of epochs done. */
  GRAFT_SCHEDULE_COSINE = 2
} graft_schedule;

/** Who teaches, besides teachers that are given with graft_trainer_add_teacher. */
typedef enum graft_teaching {
  /** Only the given teachers, if any. */
  GRAFT_TEACHING_GIVEN = 0,
  /** The network before in the ring. */
  GRAFT_TEACHING_PREDECESSOR = 1,
  /** The mean of all the other networks (mutual learning). */
  GRAFT_TEACHING_OTHERS = 2
} graft_teaching;

/** Before or after an epoch's graft. (The paper's scripts always measure before.) */
typedef enum graft_moment { GRAFT_BEFORE = 0, GRAFT_AFTER = 1 } graft_moment;

/** Fill with graft_trainer_options_init, then change fields. */
typedef struct graft_trainer_options {
  size_t struct_size;
  /** Epochs in all, 1 to 1000000. Default 200. */
  int64_t epochs;
  /** 1 to 65536. Default 128. The last, smaller batch of an epoch is trained on too. */
  int64_t batch_size;
  /** Threads for the whole trainer; 0 (default) takes what OpenMP would. Same bits at any count. */
  int32_t threads;
  /** Momentum, weight decay, Nesterov as graft_sgd_options. Default 0.9, 5e-4, 0. */
  double momentum;
  double weight_decay;
  int32_t nesterov;
  /** Default GRAFT_SCHEDULE_STEP, every 60 epochs (1 to 1000000) by 0.1 (above 0, finite; the
   * paper's). */
  graft_schedule schedule;
  int64_t step_epochs;
  double step_factor;
  /** The learning rate rises linearly over the steps of this many first epochs, 0 to 1000000.
   * Default 0. */
  int64_t warmup_epochs;
  /** Zero padding of the random crop, in pixels, 0 (none) to 4096. Default 4. */
  int64_t crop_padding;
  /** 1 (default) flips images left to right at random. */
  int32_t flip;
  /** 1 grafts after the epochs that `graft` says; 0 (default) does not. */
  int32_t grafting;
  /** Who teaches. Default GRAFT_TEACHING_GIVEN. */
  graft_teaching teaching;
  /** When networks are evaluated, relative to the epoch's graft. Default GRAFT_AFTER. */
  graft_moment evaluate;
  /** When the trainer saves on its own, relative to the epoch's graft. Default GRAFT_AFTER. */
  graft_moment save;
  /** Saves after every this many epochs, up to 1000000; 0 (default) never. Needs `directory`. */
  int64_t save_every;
  /** Where to save. Copied; a relative path stands for the place that it names when the trainer is
   * made, whatever working directory the process changes to. NULL (default) for nowhere. */
  const char *directory;
  /** As graft_sgd_options. Default 0, 0. (label_smoothing is the distillation options'.) */
  int32_t decay_weights_only;
  double clip_norm;
  /** Takes the place of crop_padding and flip. Copied. NULL (default) for those two alone. Teachers
   * see the very images that their students see. */
  const graft_augmentation *augmentation;
  /** Keeps an exponential moving average of every network's weights and running statistics, as
   * torch.optim.swa_utils.AveragedModel does with get_ema_multi_avg_fn(ema_decay) and use_buffers:
   * above 0, below 1. 0 (default) keeps none. Part of checkpoints; see graft_trainer_ema. A graft
   * moves the weights, and the average follows them. */
  double ema_decay;
  /** Steps from one update of the average to the next, at least 1. Default 1. */
  int64_t ema_every;
  /** 1 evaluates the averages too, whenever networks are evaluated. Default 0. */
  int32_t evaluate_ema;
  /** Evaluates after every this many steps too, counted from the run's beginning; at an epoch's end
   * its own evaluation takes the place of that. 0 (default) for the ends of epochs alone. Does not
   * change what is trained. Up to 2^31 - 1. See graft_trainer_step_record. */
  int64_t evaluate_steps;
  /** What the networks multiply in while they train. Part of what a checkpoint must have again.
   * Default GRAFT_PRECISION_FLOAT32. */
  graft_precision precision;
} graft_trainer_options;

/** Writes the defaults into the first `size` bytes of *options and sets its struct_size. */
void graft_trainer_options_init(graft_trainer_options *options, size_t size);

/**
 * Makes a trainer.
 *
 * @param options NULL for the defaults; copied.
 * @param graft NULL for the defaults; copied. graft->threads is not used: the trainer's are. Nor is
 *        graft->step: it is the number of grafts before, (epoch - start) / every, and for noise the
 *        epoch.
 * @param distillation NULL for the defaults; copied. Its threads are not used.
 * @param train the training set, at least one image. @param test NULL for no evaluation.
 *        Both are held until graft_trainer_destroy.
 * @return GRAFT_SHAPE_MISMATCH where the two sets' images differ in shape. Messages name the field
 *         of the second and third struct as graft->bins, distillation->temperature.
 */
graft_status graft_trainer_create(const graft_trainer_options *options,
                                  const graft_options *graft,
                                  const graft_distillation_options *distillation,
                                  const graft_dataset *train, const graft_dataset *test,
                                  graft_trainer **trainer);

/** Ends a trainer. NULL is allowed. */
void graft_trainer_destroy(graft_trainer *trainer);

/** What is a network's own. Fill with graft_member_options_init, then change fields. */
typedef struct graft_member_options {
  size_t struct_size;
  /** Data order, crops and flips. Default 0. */
  uint64_t seed;
  /** The schedule's start, > 0, finite in float32. Default 0.1. */
  double learning_rate;
  /** In place of the trainer's, for this network alone; -1 (default) takes the trainer's. Weight
   * decay >= 0, decay_weights_only 0 or 1, label smoothing 0 to 1. Networks
   * that differ in how they are trained stay more diverse, which is what grafting lives on. */
  double weight_decay;
  int32_t decay_weights_only;
  double label_smoothing;
  /** The same. Copied. NULL (default) takes the trainer's. */
  const graft_augmentation *augmentation;
} graft_member_options;

/** Writes the defaults into the first `size` bytes of *options and sets its struct_size. */
void graft_member_options_init(graft_member_options *options, size_t size);

/**
 * Adds a network to train; the first added is network 0. It is trained in place: its handle shows
 * the weights at any time between calls. At most 64; when grafting, all of one structure.
 *
 * @return GRAFT_SHAPE_MISMATCH where it does not take the data set's images, gives too few logits,
 *         or differs from network 0; GRAFT_INVALID_STATE once the run has begun.
 */
graft_status graft_trainer_add(graft_trainer *trainer, graft_network *network,
                               const graft_member_options *options);

/**
 * Adds a teacher, of any structure; it is run in evaluation and never changed. At most 64.
 *
 * @return GRAFT_SHAPE_MISMATCH where it does not take the data set's images or has another number of
 *         logits than the networks; GRAFT_INVALID_STATE once the run has begun.
 */
graft_status graft_trainer_add_teacher(graft_trainer *trainer, graft_network *teacher);

/** What a trainer is doing. */
typedef enum graft_phase {
  /** A batch has been trained on by every network. */
  GRAFT_PHASE_TRAINING = 0,
  /** A part of the test set has been evaluated. */
  GRAFT_PHASE_EVALUATION = 1,
  /** The epoch's graft is done; graft_trainer_graft_report has it. */
  GRAFT_PHASE_GRAFT = 2,
  /** The epoch is over, its records are there, and it has been saved if it had to be. */
  GRAFT_PHASE_EPOCH = 3,
  /** An evaluation between two steps of an epoch is done, its records are there. */
  GRAFT_PHASE_EVALUATED = 4
} graft_phase;

/** What a progress callback is told. */
typedef struct graft_progress {
  size_t struct_size;
  graft_phase phase;
  /** From 1. */
  int64_t epoch;
  int64_t epochs;
  /** Steps done in this phase of this epoch, and how many there are. */
  int64_t step;
  int64_t steps;
  /** Mean training loss of the epoch so far, over all networks. */
  double loss;
  /** Training images a second over this run so far, all networks together. */
  double images_per_second;
  /** Seconds since this run began, and an estimate of those to come. */
  double seconds;
  double seconds_left;
} graft_progress;

/**
 * Called on the thread that called graft_trainer_run, between two steps. Returns 0 to go on,
 * anything else to stop: the run then returns GRAFT_CANCELLED.
 *
 * It may call back in: save, read records, reports and weights, evaluate, graft a copy, use other
 * handles, run another trainer. On the trainer itself graft_trainer_run, _load, _add and
 * _add_teacher return GRAFT_INVALID_STATE; graft_trainer_destroy ends the handle, and the trainer
 * itself when the run returns. Writing to the weights changes the run.
 *
 * Nothing may unwind through the library: a C++ exception that leaves the callback, a longjmp out
 * of it or the end of the thread within it is undefined behaviour. (graft.hpp's graft::run catches
 * what the callback throws, stops, and throws it again.)
 */
typedef int32_t (*graft_callback)(const graft_progress *progress, void *user_data);

/**
 * Trains until all epochs are done. After GRAFT_CANCELLED, or an error (in saving, or of memory,
 * anywhere), a further call goes on where this one stopped, to the same bits as a run that was
 * never stopped.
 *
 * @param callback NULL if not wanted. @param user_data handed to it as it is.
 * @return GRAFT_NOT_FINITE where a loss, or a gradient's norm that is to be clipped, becomes NaN or
 *         infinite; the message names network, epoch and batch. That network's weights, running
 *         statistics and momentum are those before the step; other networks may have taken it.
 *         graft_trainer_save is then GRAFT_INVALID_STATE, so that no checkpoint holds half a step,
 *         and a further call tries the step again where it failed: to go on, graft_trainer_load an
 *         earlier checkpoint, or write sound weights into the network.
 */
graft_status graft_trainer_run(graft_trainer *trainer, graft_callback callback, void *user_data);

/** Number of whole epochs done. 0 for NULL. */
int64_t graft_trainer_epochs_done(const graft_trainer *trainer);

/** A network's results of one epoch. */
typedef struct graft_epoch_record {
  size_t struct_size;
  int64_t epoch;
  double learning_rate;
  /** Means over the epoch's batches, in training mode. Accuracy is a share, 0 to 1. */
  double train_loss;
  double train_accuracy;
  /** Over the test set, in evaluation mode; NaN where there is none. */
  double test_loss;
  double test_accuracy;
  /** Whether the test figures were taken before or after the epoch's graft. */
  graft_moment evaluated;
  /** 1 if a graft was due after this epoch. */
  int32_t grafted;
  /** Wall-clock seconds of the epoch, all networks together. */
  double seconds;
  /** As train_accuracy and test_accuracy: the share of images whose label is among the five largest
   * logits. Of a mixed image each label counts by its share, here and in train_accuracy. */
  double train_top5;
  double test_top5;
  /** The moving average over the test set; NaN where it is not evaluated (evaluate_ema). */
  double ema_loss;
  double ema_accuracy;
  double ema_top5;
  /** The mean over the epoch's steps of the gradients' l2 norm, before clipping, and the share of
   * the steps that were clipped; NaN where clip_norm is 0. */
  double gradient_norm;
  double clipped;
} graft_epoch_record;

/** Tells the record of a finished epoch, from 1. `record->struct_size` is set by the caller. */
graft_status graft_trainer_record(const graft_trainer *trainer, int64_t epoch, size_t network,
                                  graft_epoch_record *record);

/** A network's results between two steps of an epoch (evaluate_steps). */
typedef struct graft_step_record {
  size_t struct_size;
  int64_t epoch;
  /** Steps of the epoch done, from 1. */
  int64_t step;
  /** Mean training loss of the epoch so far. */
  double train_loss;
  /** Over the test set, in evaluation mode. */
  double test_loss;
  double test_accuracy;
  double test_top5;
  /** The same of the moving average; NaN where it is not evaluated. */
  double ema_loss;
  double ema_accuracy;
  double ema_top5;
} graft_step_record;

/** Number of evaluations between steps so far. 0 for NULL. */
size_t graft_trainer_step_record_count(const graft_trainer *trainer);

/** Tells the record of such an evaluation, from 0. `record->struct_size` is set by the caller. */
graft_status graft_trainer_step_record(const graft_trainer *trainer, size_t index, size_t network,
                                       graft_step_record *record);

/**
 * Gives the l2 norm of a network's gradients in its last step, before clipping.
 *
 * @return GRAFT_INVALID_STATE where clip_norm is 0 or no step has been made since the trainer was
 *         made or loaded.
 */
graft_status graft_trainer_gradient_norm(const graft_trainer *trainer, size_t network,
                                         double *norm);

/**
 * Writes the moving average of a network's weights into a network, to evaluate it or save it.
 * Before the average's first update it is the weights themselves.
 *
 * @param into finished, of the same structure; may be the network in training.
 * @return GRAFT_INVALID_STATE where ema_decay is 0.
 */
graft_status graft_trainer_ema(const graft_trainer *trainer, size_t network, graft_network *into);

/**
 * Gives the report of the graft after `epoch`; GRAFT_INVALID_ARGUMENT if there was none. A copy,
 * ended with graft_report_destroy.
 */
graft_status graft_trainer_graft_report(const graft_trainer *trainer, int64_t epoch,
                                        graft_report **report);

/** How a network does on a data set, in evaluation mode. */
typedef struct graft_evaluation {
  size_t struct_size;
  /** Mean cross entropy. */
  double loss;
  /** The share of images, 0 to 1, whose label is the largest logit, and among the five largest. (Of
   * equal logits the one of the lower class comes first.) */
  double accuracy;
  double top5;
} graft_evaluation;

/** Evaluates a network. `evaluation->struct_size` is set by the caller. */
graft_status graft_network_evaluate(graft_network *network, const graft_dataset *dataset,
                                    int64_t batch_size, graft_evaluation *evaluation);

/** Loss and accuracy (0 to 1) of a network on a data set, in evaluation mode. */
graft_status graft_evaluate(graft_network *network, const graft_dataset *dataset,
                            int64_t batch_size, double *loss, double *accuracy);

/**
 * Saves everything that a run needs to go on: a directory with network-0.safetensors, ... (each a
 * PyTorch state_dict), ema-0.safetensors, ... (the same of the moving averages, where they are
 * kept), trainer.safetensors (momentum), and manifest.json (position, records, settings,
 * checksums). It is written beside and renamed as a whole: what stood there before stays until the
 * new one is complete.
 */
graft_status graft_trainer_save(const graft_trainer *trainer, const char *directory);

/**
 * Loads what graft_trainer_save wrote into a trainer that was made with the same options, the
 * same networks and the same data; threads, where and when to save, evaluate_steps, evaluate_ema
 * and, unless the schedule is a cosine, the number of epochs may differ. The weights of its
 * networks are replaced. On an error nothing has changed. GRAFT_SHAPE_MISMATCH names what differs.
 */
graft_status graft_trainer_load(graft_trainer *trainer, const char *directory);

#ifdef __cplusplus
}
#endif
#endif
