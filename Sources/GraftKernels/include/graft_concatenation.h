/* Values next to each other along their channels. Tensors are pixels x channels (N H W x C). */
#ifndef GRAFT_CONCATENATION_H
#define GRAFT_CONCATENATION_H

#include "graft_convolution.h"

/* One of the values: its channels come after those of the parts before it. */
typedef struct gk_part {
  gk_view in;
  int64_t channels;
} gk_part;

/* Every value is copied once, through its view. statistics, NULL or tiles (gk_pixel_tiles) x 2 x
 * channels, receives what gk_norm_moments would of the result. */
void gk_concatenate_forward(int threads, const gk_part *parts, int64_t count, float *out,
                            float *statistics, int64_t pixels, int64_t channels);

/* Where the gradient of one of the values goes. */
typedef struct gk_gradient_part {
  float *to; /* NULL if not wanted */
  int accumulate;
  int64_t channels;
} gk_gradient_part;

/* to (+)= its share of the gradient, for every part in turn (two may go to the same place). */
void gk_concatenate_backward(int threads, gk_gradient_view gradient, const gk_gradient_part *parts,
                             int64_t count, int64_t pixels, int64_t channels);

#endif
