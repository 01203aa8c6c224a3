#include "graft_distillation.h"

#include "float_environment.h"
#include "graft_parallel.h"
#include "loss_loops.h"

#include <math.h>
#include <stddef.h>

#pragma STDC FP_CONTRACT OFF

int64_t gk_distillation_scratch(int64_t classes) { return 4 * classes; }

static void load_row(const gk_logits *logits, int64_t row, int64_t classes, double *values) {
  int64_t step = logits->column_stride;
  if (logits->wide) {
    const double *from = (const double *)logits->data + row * logits->row_stride;
    for (int64_t c = 0; c < classes; ++c) values[c] = from[c * step];
  } else {
    const float *from = (const float *)logits->data + row * logits->row_stride;
    if (step == 1)
      gk_loss_loops_here()->widen(from, classes, values);
    else
      for (int64_t c = 0; c < classes; ++c) values[c] = (double)from[c * step];
  }
}

/* The values times `scale`. */
static void store_row(const gk_logits *logits, int64_t row, int64_t classes,
                      const double *values, double scale) {
  int64_t step = logits->column_stride;
  if (logits->wide) {
    double *to = (double *)logits->data + row * logits->row_stride;
    for (int64_t c = 0; c < classes; ++c) to[c * step] = values[c] * scale;
  } else {
    float *to = (float *)logits->data + row * logits->row_stride;
    if (step == 1)
      gk_loss_loops_here()->narrow(values, classes, scale, to);
    else
      for (int64_t c = 0; c < classes; ++c) to[c * step] = (float)(values[c] * scale);
  }
}

int64_t gk_first_row_not_finite(const gk_logits *logits, int64_t batch, int64_t classes) {
  const gk_loss_loops *loops = gk_loss_loops_here();
  for (int64_t row = 0; row < batch; ++row) {
    if (!logits->wide && logits->column_stride == 1) {
      if (!loops->finite((const float *)logits->data + row * logits->row_stride, classes))
        return row;
      continue;
    }
    for (int64_t c = 0; c < classes; ++c) {
      int64_t at = row * logits->row_stride + c * logits->column_stride;
      double value = logits->wide ? ((const double *)logits->data)[at]
                                  : (double)((const float *)logits->data)[at];
      if (!isfinite(value)) return row;
    }
  }
  return -1;
}

/* T^2 KL(p̄ || p_T) of a row, p_T being the student's softmax at temperature T, with the logarithm
 * `log_sum` of its sum of exponentials; the mean of the teachers' softmax is left in `mean`.
 *
 * = sum p̄ (T^2 ln p̄ - T^2 ln p_T): the logits' distances are multiplied by T, not divided by T
 * and multiplied by T^2, so that at a small T they stay what they are. */
static double divergence(const gk_distillation *what, int64_t row, const double *z, double most,
                         double log_sum, double *mean, double *t) {
  const gk_loss_loops *loops = gk_loss_loops_here();
  int64_t classes = what->classes;
  double temperature = what->temperature, square = temperature * temperature, result = 0;
  if (what->teachers == 1) { /* ln p̄ needs no logarithm of a sum: exact where p̄ is tiny */
    load_row(&what->teacher[0], row, classes, t);
    double top = loops->highest(t, classes);
    double sum = loops->exponentials(t, classes, top, temperature, mean);
    double log_ratio = log_sum - log(sum);
    return loops->divergence(mean, classes, 1 / sum, t, top, z, most, temperature,
                             square * log_ratio);
  }
  for (int64_t c = 0; c < classes; ++c) mean[c] = 0;
  for (int64_t m = 0; m < what->teachers; ++m) {
    load_row(&what->teacher[m], row, classes, t);
    double sum = loops->exponentials(t, classes, loops->highest(t, classes), temperature, t);
    loops->add(mean, t, classes, 1 / sum);
  }
  for (int64_t c = 0; c < classes; ++c) {
    mean[c] /= (double)what->teachers;
    if (mean[c] > 0)
      result += mean[c] * (square * (log(mean[c]) + log_sum) - temperature * (z[c] - most));
  }
  return result;
}

/* A row's target: `share` of `rest` on class `first`, what is left of `rest` on class `second`, and
 * `each` on every class besides. */
typedef struct target {
  int64_t first, second;
  double share, rest, each;
} target;

static target target_of_row(const gk_distillation *what, int64_t row) {
  target q = {what->labels[row], what->labels[row], 1, 1, 0};
  if (what->others != NULL) {
    q.second = what->others[row];
    q.share = what->shares[row];
  }
  if (what->smoothing > 0) {
    q.rest = 1 - what->smoothing;
    q.each = what->smoothing / (double)what->classes;
  }
  return q;
}

/* The cross entropy of a row with its target, of which `log_sum` is the softmax's logarithm. */
static double cross_entropy(const target *q, const double *z, int64_t classes, double most,
                            double log_sum) {
  double hit = z[q->first] - most;
  if (q->first != q->second) hit = q->share * hit + (1 - q->share) * (z[q->second] - most);
  if (q->each == 0) return log_sum - hit;
  double all = 0;
  for (int64_t c = 0; c < classes; ++c) all += z[c] - most;
  return log_sum - q->rest * hit - q->each * all;
}

/* One row's loss. `z` holds the logits before, and the gradient times the batch after; `e`, `mean`
 * and `t` are scratch. */
static double loss_of_row(const gk_distillation *what, int64_t row, double *z, double *e,
                          double *mean, double *t) {
  const gk_loss_loops *loops = gk_loss_loops_here();
  int64_t classes = what->classes;
  double most = loops->highest(z, classes), loss = 0;
  gk_share student = {NULL, 0, 0}, labels = {NULL, 0, 0};
  target q = {-1, -1, 1, 1, 0};
  if (what->teachers > 0) {
    double sum = loops->exponentials(z, classes, most, what->temperature, e);
    loss = what->distillation_weight * divergence(what, row, z, most, log(sum), mean, t);
    student = (gk_share){e, 1 / sum, what->distillation_weight * what->temperature};
  }
  if (what->label_weight > 0) {
    q = target_of_row(what, row);
    double sum = loops->exponentials(z, classes, most, 1, t);
    loss += what->label_weight * cross_entropy(&q, z, classes, most, log(sum));
    labels = (gk_share){t, 1 / sum, what->label_weight};
  }
  loops->gradient(z, classes, labels, q.each, student, mean);
  if (q.first >= 0) {
    double share = q.first == q.second ? 1 : q.share;
    z[q.first] -= what->label_weight * (q.rest * share);
    if (q.first != q.second) z[q.second] -= what->label_weight * (q.rest * (1 - q.share));
  }
  return loss;
}

typedef struct job {
  const gk_distillation *what;
  double *losses, *scratch;
} job;

enum { ROWS = 8 };

static void tile_of_rows(void *context, int64_t tile, int worker) {
  job *j = context;
  const gk_distillation *what = j->what;
  int64_t classes = what->classes;
  double *z = j->scratch + worker * gk_distillation_scratch(classes);
  unsigned floats = gk_plain_floats();
  for (int64_t row = tile * ROWS; row < what->batch && row < (tile + 1) * ROWS; ++row) {
    load_row(&what->student, row, classes, z);
    j->losses[row] = loss_of_row(what, row, z, z + classes, z + 2 * classes, z + 3 * classes);
    if (what->gradient.data == NULL) continue;
    store_row(&what->gradient, row, classes, z, 1 / (double)what->batch);
  }
  gk_restore_floats(floats);
}

double gk_distillation_loss(const gk_distillation *what, int threads, double *losses,
                            double *scratch) {
  job j = {what, losses, scratch};
  gk_parallel_for(threads, (what->batch - 1) / ROWS + 1, tile_of_rows, &j);
  double sum = 0;
  for (int64_t row = 0; row < what->batch; ++row) sum += losses[row];
  return sum / (double)what->batch;
}
