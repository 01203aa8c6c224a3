/* Few filters over many channels: a dense layer's. Internal to the kernels.
 *
 * With filters in the lanes of a vector, twelve filters leave a quarter of every product unused.
 * Here the channels are in the lanes: an output is a sum over a vector in the end, and the weights
 * lie as [filter][row of the kernel][column, channel], the last two padded to whole vectors. */
#ifndef GRAFT_NARROW_PLAN_H
#define GRAFT_NARROW_PLAN_H

#include "graft_convolution.h"
#include "integers.h"

#define GK_NARROW_FILTERS 12
#define GK_NARROW_LEAST 256 /* products of an output, from which a sum over lanes is cheap */

static inline int gk_is_narrow(const gk_convolution *s) {
  return s->groups == 1 && s->dilation_width == 1 && s->filters <= GK_NARROW_FILTERS &&
         s->kernel_height * s->kernel_width * s->channels >= GK_NARROW_LEAST &&
         s->kernel_width * s->channels >= 64;
}

/* Floats of a kernel's row. */
static inline int64_t gk_narrow_row(const gk_convolution *s) {
  return gk_ceil_div(s->kernel_width * s->channels, 16) * 16;
}

/* Floats of all weights, of filters that there are not too. */
static inline int64_t gk_narrow_size(const gk_convolution *s) {
  return GK_NARROW_FILTERS * s->kernel_height * gk_narrow_row(s);
}

#endif
