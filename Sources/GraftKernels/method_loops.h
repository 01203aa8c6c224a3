/* The method's innermost loops, over elements that lie in a row; one set per instruction set, all
 * with the same bits (method_loops_variant.h). */
#ifndef GRAFT_METHOD_LOOPS_H
#define GRAFT_METHOD_LOOPS_H

#include <stdint.h>

typedef struct gk_method_loops {
  /* Lowest and highest of `n` values, and the sum of their magnitudes; that sum is not finite
   * exactly where a value is not. */
  void (*measure)(const float *x, int64_t n, float *low, float *high, double *sum);

  /* at_least[i] += how many of `n` values are >= threshold[i]. No value is -inf. */
  void (*count)(const float *x, int64_t n, const float *threshold, int64_t thresholds,
                int64_t *at_least);

  /* The bin of each of `n` values in low <= x <= high among `bins` whose edges are
   * low + i * step: that of numpy.histogram. */
  void (*bin)(const float *x, int64_t n, double low, double high, double step, int64_t bins,
              int32_t *index);

  /* out[i] = sum of weight[t] * x[t][i] over the terms, in that order, in float64, rounded once.
   * `out` may be one of the x. */
  void (*combine)(float *out, int64_t n, int64_t terms, const float *const *x,
                  const double *weight);
} gk_method_loops;

/* The set for this processor. */
const gk_method_loops *gk_method_loops_here(void);

#endif
