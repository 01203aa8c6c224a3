/* The loss's innermost loops, over a row of float64; one set per instruction set, all with the same
 * bits (loss_loops_variant.h). They run between gk_plain_floats and gk_restore_floats. */
#ifndef GRAFT_LOSS_LOOPS_H
#define GRAFT_LOSS_LOOPS_H

#include <stdint.h>

/* What a row of probabilities p[c] = e[c] * scale adds to a gradient. */
typedef struct gk_share {
  const double *e; /* NULL for nothing */
  double scale, weight;
} gk_share;

typedef struct gk_loss_loops {
  /* Whether `n` values are all finite. */
  int (*finite)(const float *x, int64_t n);

  /* float32 that lies in a row to float64, and `x` times `scale` the other way. */
  void (*widen)(const float *x, int64_t n, double *out);
  void (*narrow)(const double *x, int64_t n, double scale, float *out);

  /* The highest of `n` values. */
  double (*highest)(const double *x, int64_t n);

  /* e[c] = exp((z[c] - most) / temperature), within 2 units in the last place; `most` is the
   * highest of z, so that nothing overflows. Returns the sum. `e` may be `z`. */
  double (*exponentials)(const double *z, int64_t n, double most, double temperature, double *e);

  /* mean[c] += e[c] * scale. */
  void (*add)(double *mean, const double *e, int64_t n, double scale);

  /* mean[c] *= scale; returns the sum of mean[c] * (temperature * ((t[c] - top) - (z[c] - most)) +
   * offset) over the c where mean[c] > 0. */
  double (*divergence)(double *mean, int64_t n, double scale, const double *t, double top,
                       const double *z, double most, double temperature, double offset);

  /* z[c] = labels.weight * (labels.e[c] * labels.scale - each)
   *        + student.weight * (student.e[c] * student.scale - mean[c]),
   * each term where its e is there. */
  void (*gradient)(double *z, int64_t n, gk_share labels, double each, gk_share student,
                   const double *mean);
} gk_loss_loops;

/* The set for this processor. */
const gk_loss_loops *gk_loss_loops_here(void);

#endif
