/* The method's innermost loops, over elements that lie in a row; one set per instruction set, all
 * with the same bits (method_loops_variant.h). */
#ifndef GRAFT_METHOD_LOOPS_H
#define GRAFT_METHOD_LOOPS_H

#include <stdint.h>

/* A bin is cut in so many steps, 15 bins in no more than 16 bits can count. Three roundings of
 * float32 are off by less than 15 * 4096 * 3 / 2^24 = 0.011 of a step. */
#define GK_STEPS 4096
#define GK_SORTED_BINS 15

typedef struct gk_method_loops {
  /* Lowest and highest of `n` values, and the sum of their magnitudes; that sum is not finite
   * exactly where a value is not. */
  void (*measure)(const float *x, int64_t n, float *low, float *high, double *sum);

  /* at_least[i] += how many of `n` values are >= threshold[i]. No value is -inf. */
  void (*count)(const float *x, int64_t n, const float *threshold, int64_t thresholds,
                int64_t *at_least);

  /* The same counts for the bins of numpy.histogram, at most GK_SORTED_BINS of them, several times
   * faster: a value's bin is found by arithmetic in float32, and only where it lies within
   * 1/GK_STEPS of a bin from an edge is it compared with the thresholds. `scale` is GK_STEPS times
   * the bins over the range, a normal number. */
  void (*sort)(const float *x, int64_t n, float low, float scale, const float *threshold,
               int64_t thresholds, int64_t *at_least);

  /* The bin of each of `n` values in low <= x <= high among `bins` whose edges are
   * low + i * step: that of numpy.histogram. */
  void (*bin)(const float *x, int64_t n, double low, double high, double step, int64_t bins,
              int32_t *index);

  /* out[i] = sum of weight[t] * x[t][i] over the terms, in that order, in float64, rounded once.
   * `out` may be one of the x. */
  void (*combine)(float *out, int64_t n, int64_t terms, const float *const *x,
                  const double *weight);

  /* The same, rounded once to one of the two half types. */
  void (*combine_half)(int32_t type, float *out, int64_t n, int64_t terms, const float *const *x,
                       const double *weight);

  /* Sums rounded to one of the two half types. */
  void (*round_half)(int32_t type, const double *sum, int64_t n, float *out);

  /* How many of `n` elements differ from one of the terms before, and not from what they become.
   * A term that is `before` itself is passed over. n <= GK_PIECE. */
  int64_t (*unmoved)(const float *result, const float *before, int64_t n, int64_t terms,
                     const float *const *x);

  /* Between the half types (gk_type) and float32; `narrow` is for values that the type holds. */
  void (*widen)(int32_t type, const uint16_t *x, int64_t n, float *out);
  void (*narrow)(int32_t type, const float *x, int64_t n, uint16_t *out);
} gk_method_loops;

/* gk_method_loops.measure of float64 (GK_FLOAT64), or of float32 (any other type). */
void gk_measure_piece(int32_t type, const void *x, int64_t count, double *low, double *high,
                      double *sum);

/* Loops over float64, the same for every instruction set. */
void gk_measure_double(const double *x, int64_t n, double *low, double *high, double *sum);
void gk_combine_double(double *out, int64_t n, int64_t terms, const double *const *x,
                       const double *weight);

/* The set for this processor. */
const gk_method_loops *gk_method_loops_here(void);

#endif
