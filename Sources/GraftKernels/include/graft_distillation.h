/* Cross entropy with labels and distillation from teachers, on logits (paper, section 4). */
#ifndef GRAFT_DISTILLATION_KERNELS_H
#define GRAFT_DISTILLATION_KERNELS_H

#include <stdint.h>

/* A matrix of logits, batch x classes, float32 or float64 (`wide`), strides in elements. */
typedef struct gk_logits {
  void *data;
  int32_t wide;
  int64_t row_stride, column_stride;
} gk_logits;

typedef struct gk_distillation {
  int64_t batch, classes, teachers;
  gk_logits student;
  const gk_logits *teacher; /* [teachers] */
  const int64_t *labels;    /* [batch]; NULL where label_weight is 0 */
  /* Of a batch of mixed images: labels has shares[row] of a row's target, others the rest. NULL
   * both where no image is mixed. */
  const int64_t *others;
  const double *shares;
  double smoothing;   /* this much of the target is spread over all classes alike */
  gk_logits gradient; /* data NULL where not wanted; may be the student's own memory */
  double temperature, label_weight, distillation_weight;
} gk_distillation;

/* Values of scratch memory that one worker needs. */
int64_t gk_distillation_scratch(int64_t classes);

/* Writes the gradient and returns the loss. Everything finite, labels in range.
 * `losses` has room for `batch` values, `scratch` for workers x gk_distillation_scratch. */
double gk_distillation_loss(const gk_distillation *what, int threads, double *losses,
                            double *scratch);

/* The row of the first logits that are not finite, or -1. */
int64_t gk_first_row_not_finite(const gk_logits *logits, int64_t batch, int64_t classes);

#endif
