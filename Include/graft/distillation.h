/** @file
 * Distillation: the loss that keeps the valid filters good while others are grafted (the paper
 * calls it cultivation, section 4). For any trainer: logits in, loss and gradient out.
 */
#ifndef GRAFT_DISTILLATION_H
#define GRAFT_DISTILLATION_H

#include "status.h"
#include "tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/** The loss's weights. Fill with graft_distillation_options_init, then change fields. */
typedef struct graft_distillation_options {
  size_t struct_size;
  /** T > 0, finite. Default 2. */
  double temperature;
  /** Weight of the cross entropy with the labels, >= 0. Default 1. */
  double label_weight;
  /** Weight of the distillation term, >= 0. Default 1. */
  double distillation_weight;
  /** Threads; 0 (default) takes what OpenMP would. */
  int32_t threads;
  /** The share of every label's target that is spread over all classes alike, 0 to 1, as
   * torch.nn.CrossEntropyLoss's label_smoothing. Default 0. */
  double label_smoothing;
} graft_distillation_options;

/** Writes the defaults into the first `size` bytes of *options and sets its struct_size. */
void graft_distillation_options_init(graft_distillation_options *options, size_t size);

/**
 * loss = label_weight CE(z, y) + distillation_weight T^2 KL(p_T || softmax(z / T)),
 *
 * p_T being the mean of the teachers' softmax at temperature T; both terms are means over the
 * batch. (The paper writes the second as a cross entropy: it differs by the teachers' entropy,
 * the gradient is the same.) With no teacher the second term is 0. With label_smoothing e and C
 * classes, y stands for the distribution (1 - e) y + e / C.
 *
 * @param student logits z, batch x classes, GRAFT_FLOAT32 or GRAFT_FLOAT64, finite.
 * @param teachers `teacher_count` pointers to logits of the same shape and type; NULL if there are
 * none.
 * @param teacher_count 0 to 64.
 * @param labels `batch` class numbers from 0; NULL only where label_weight is 0.
 * @param options NULL for the defaults.
 * @param loss receives the loss.
 * @param gradient receives d loss / d z, of the student's shape; NULL if not wanted. May be the
 *        student's own memory.
 * @return GRAFT_NOT_FINITE names the logits; GRAFT_INVALID_ARGUMENT a label outside its range.
 */
graft_status graft_distillation_loss(const graft_tensor *student,
                                     const graft_tensor *const *teachers, size_t teacher_count,
                                     const int64_t *labels,
                                     const graft_distillation_options *options, double *loss,
                                     const graft_tensor *gradient);

#ifdef __cplusplus
}
#endif
#endif
