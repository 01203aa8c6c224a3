/* Depthwise convolution: as many groups as channels and as filters, so that every channel has one
 * small kernel of its own. Vectors run over channels. Same shapes, views and promises as
 * graft_convolution.h. */
#ifndef GRAFT_DEPTHWISE_H
#define GRAFT_DEPTHWISE_H

#include "graft_convolution.h"

/* Whether a convolution is one. */
int gk_is_depthwise(const gk_convolution *s);

/* Sizes, in floats, of what the caller provides. */
size_t gk_depthwise_packed_size(const gk_convolution *s);
size_t gk_depthwise_scratch_size(const gk_convolution *s); /* for each worker */
size_t gk_depthwise_partial_size(const gk_convolution *s);

/* Forward tiles, and rows in each of them but an image's last. */
int64_t gk_depthwise_tiles(const gk_convolution *s);
int64_t gk_depthwise_band(const gk_convolution *s);

/* Weights, channels x 1 x kernel, for both passes. */
void gk_depthwise_pack(const gk_convolution *s, int threads, const float *weights, float *packed);

void gk_depthwise_forward(const gk_convolution *s, int threads, gk_view in, const float *packed,
                          const float *bias, float *out, float *statistics, float *scratch);

int64_t gk_depthwise_sum_tiles(const gk_convolution *s);

void gk_depthwise_backward(const gk_convolution *s, int threads, gk_view in,
                           gk_gradient_view gradient, const float *packed, float *input_gradient,
                           int accumulate, gk_gradient_sums sums, float *weights_gradient,
                           float *bias_gradient, float *partial, float *scratch);

#endif
