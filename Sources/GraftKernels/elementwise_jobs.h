/* What the tiles of elementwise.c and norm.c work on. Internal. */
#ifndef GRAFT_ELEMENTWISE_JOBS_H
#define GRAFT_ELEMENTWISE_JOBS_H

#include "graft_elementwise.h"

/* Floats in a tile. */
#define GK_GRAIN 16384

typedef struct gk_sum_job {
  gk_view a, b;
  float slope, *out;
  int64_t pixels, channels;
} gk_sum_job;

typedef struct gk_rectify_job {
  const float *out;
  float slope, *gradient;
  int64_t count;
} gk_rectify_job;

typedef struct gk_apply_job {
  gk_gradient_view gradient;
  float *to;
  int accumulate;
  int64_t pixels, channels;
} gk_apply_job;

typedef struct gk_reduce_job {
  gk_gradient_view gradient;
  const float *mean;
  float *sums;
  int64_t pixels, channels;
} gk_reduce_job;

typedef struct gk_sgd_job {
  const gk_sgd_settings *settings;
  float *weights;
  const float *gradient;
  float *momentum;
  int64_t count;
} gk_sgd_job;

#endif
