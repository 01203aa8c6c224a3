/* Convolutions of single pixels: 1 x 1, of stride 1. Internal to the kernels.
 *
 * No pixel meets another: a chunk of images is a row of pixels, cut into blocks that stay in the
 * caches while all that the backward pass wants of them is made: the input's gradient, the sums
 * that the batch norm before it needs (gk_gradient_sums), the weights' gradient. */
#ifndef GRAFT_LOCAL_PLAN_H
#define GRAFT_LOCAL_PLAN_H

#include "convolution_plan.h"

static inline int gk_is_local(const gk_convolution *s) {
  return !gk_is_paired(s) && !gk_is_narrow(s) && s->groups == 1 && s->kernel_height == 1 &&
         s->kernel_width == 1 && s->stride_height == 1 && s->stride_width == 1 &&
         s->padding_height == 0 && s->padding_width == 0;
}

/* Pixels in a block: whole micro tiles of twelve, about as many floats as half a cache of the
 * second level holds. */
#ifndef GK_LOCAL_FLOATS
#define GK_LOCAL_FLOATS 32768
#endif
static inline int64_t gk_local_block(const gk_convolution *s) {
  int64_t pixels = GK_LOCAL_FLOATS / (2 * s->channels + s->filters) / 12 * 12;
  return gk_max(24, gk_min(192, pixels));
}

/* Floats of scratch memory: the block's input gradient that waits to be written, its output
 * gradient and its input; the last quad's pixels may reach past a block. */
static inline int64_t gk_local_scratch(const gk_convolution *s) {
  if (!gk_is_local(s)) return 0;
  int64_t pixels = gk_local_block(s) + 4;
  return pixels * (2 * s->channels + s->filters) + 3 * GK_SLACK;
}

#endif
