/* What the tiles of dropout.c work on. Internal. */
#ifndef GRAFT_DROPOUT_JOBS_H
#define GRAFT_DROPOUT_JOBS_H

#include "graft_dropout.h"

/* Floats in a tile; a multiple of what dropout_words gives at once. */
#define GK_DROPOUT_GRAIN 16384

typedef struct gk_dropout_job {
  const gk_dropout *shape;
  gk_view in;
  float *out; /* backward: the gradient */
  int64_t tiles; /* of one image */
} gk_dropout_job;

#endif
