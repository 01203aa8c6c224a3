/* Whole networks at once: a thread takes a tensor from beginning to end, so that its weights are in
 * the cache when they are needed again, and threads meet once a network, not several times a layer.
 * A tensor that is a large part of all is shared among the threads instead. Results are the same
 * bits either way: they depend on tiles alone. */
#ifndef GRAFT_SWEEP_H
#define GRAFT_SWEEP_H

#include "graft_blend.h"
#include "graft_information.h"

/* How entropies are counted, and the counters: workers x gk_sweep_counters(bins). */
typedef struct gk_counting {
  int64_t bins;
  int32_t compatibility;
  int64_t *counters;
} gk_counting;

int64_t gk_sweep_counters(int64_t bins);

/* A tensor to measure, by filters; as a whole its entropy, where `wants_entropy`. */
typedef struct gk_survey {
  gk_weights filters, whole;
  int32_t wants_entropy;
  double entropy; /* nothing where a weight is not finite */
  gk_measurement result;
} gk_survey;

void gk_survey_all(gk_survey *surveys, int64_t count, const gk_counting *counting, int threads);

/* A tensor of every network to mix, and, unless `results` is NULL, each row's result measured, and
 * its entropy, read from written[row] (as a whole). mix.scratch is unread. */
typedef struct gk_graft {
  gk_mix mix;
  gk_measurement *results;
  const gk_weights *written;
  double *entropies;
} gk_graft;

/* `scratch` is workers x `scratch_size`, the largest gk_mix_scratch among the grafts. */
void gk_graft_all(const gk_graft *grafts, int64_t count, const gk_counting *counting,
                  double *scratch, int64_t scratch_size, int threads);

#endif
