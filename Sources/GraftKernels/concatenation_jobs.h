/* What the tiles of concatenation.c work on. Internal. */
#ifndef GRAFT_CONCATENATION_JOBS_H
#define GRAFT_CONCATENATION_JOBS_H

#include "graft_concatenation.h"

typedef struct gk_concatenate_job {
  const gk_part *parts;
  int64_t count;
  float *out, *statistics;
  int64_t pixels, channels;
} gk_concatenate_job;

typedef struct gk_split_job {
  gk_gradient_view gradient;
  const gk_gradient_part *parts;
  int64_t count, pixels, channels;
} gk_split_job;

#endif
