/* Which convolutions multiply pairs of bfloat16 (bfloat16_tiles.h). Internal to the kernels. */
#ifndef GRAFT_PAIRED_PLAN_H
#define GRAFT_PAIRED_PLAN_H

#include "graft_convolution.h"
#include "integers.h"

/* Where operands are rounded, a unit of four bytes holds two of them: neighbouring channels of a
 * pixel, the last of an odd number beside a zero. Units are then what the loops count in.
 * Few channels gain nothing by it, and small maps lose: float32 takes them across images
 * (across_plan.h). */
static inline int gk_is_paired(const gk_convolution *s) {
  int narrow = gk_min(s->channels, s->filters) / s->groups < 16;
  int small = s->kernel_height * s->kernel_width > 1 && s->out_height * s->out_width <= 16;
  return s->bfloat16 != 0 && !narrow && !small;
}

/* Units that hold a pixel's channels. */
static inline int64_t gk_units(const gk_convolution *s, int64_t channels) {
  return gk_is_paired(s) ? gk_ceil_div(channels, 2) : channels;
}
static inline int64_t gk_in_units(const gk_convolution *s) {
  return gk_units(s, s->channels / s->groups);
}
static inline int64_t gk_out_units(const gk_convolution *s) {
  return gk_units(s, s->filters / s->groups);
}

/* Input channels that weight gradients are made for. */
static inline int64_t gk_weight_channels(const gk_convolution *s) {
  return gk_is_paired(s) ? 2 * gk_in_units(s) : s->channels / s->groups;
}

#endif
