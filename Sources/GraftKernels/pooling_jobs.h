/* What the tiles of pooling.c work on. Internal. */
#ifndef GRAFT_POOLING_JOBS_H
#define GRAFT_POOLING_JOBS_H

#include "graft_pooling.h"

typedef struct gk_pool_job {
  const gk_pooling *shape;
  gk_view in;
  float *out;
  int32_t *choice;
  const float *gradient;
  const int32_t *chosen;
  float *to;
  int accumulate;
  int64_t rows, tiles; /* rows in a tile, tiles in an image */
} gk_pool_job;

typedef struct gk_global_job {
  gk_view in;
  float *out;
  const float *gradient;
  float *to;
  int accumulate;
  int64_t pixels, channels;
} gk_global_job;

typedef struct gk_shortcut_job {
  const gk_shortcut *shape;
  gk_view in;
  float *out;
  const float *gradient;
  float *to;
  int accumulate;
} gk_shortcut_job;

#endif
