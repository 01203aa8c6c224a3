/* Convolution in narrow groups: 4, 8 or 16 channels in each, as many filters, as ResNeXt has them.
 * Vectors run over filters, across groups, so that none of their lanes is idle. Same shapes, views
 * and promises as graft_convolution.h. */
#ifndef GRAFT_GROUPED_H
#define GRAFT_GROUPED_H

#include "graft_convolution.h"

/* Whether a convolution is one. */
int gk_is_grouped(const gk_convolution *s);

/* Sizes, in floats, of what the caller provides. */
size_t gk_grouped_packed_size(const gk_convolution *s);  /* for either pass */
size_t gk_grouped_scratch_size(const gk_convolution *s); /* for each worker */
size_t gk_grouped_partial_size(const gk_convolution *s);

/* Forward tiles, and rows in each of them but an image's last. */
int64_t gk_grouped_tiles(const gk_convolution *s);
int64_t gk_grouped_band(const gk_convolution *s);

/* Repacks weights, filters x channels/groups x kernel. */
void gk_grouped_pack(const gk_convolution *s, int threads, const float *weights, float *packed);
void gk_grouped_pack_backward(const gk_convolution *s, int threads, const float *weights,
                              float *packed);

void gk_grouped_forward(const gk_convolution *s, int threads, gk_view in, const float *packed,
                        const float *bias, float *out, float *statistics, float *scratch);

/* (It leaves no sums.) */
void gk_grouped_backward(const gk_convolution *s, int threads, gk_view in,
                         gk_gradient_view gradient, const float *packed_backward,
                         float *input_gradient, int accumulate, gk_gradient_sums sums,
                         float *weights_gradient, float *bias_gradient, float *partial,
                         float *scratch);

#endif
