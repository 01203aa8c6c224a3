/* Batch norm (Ioffe and Szegedy 2015), as PyTorch's BatchNorm2d. The statistics come from the tiles
 * of what produced the tensor, the normalisation is applied by whatever reads it (gk_view). */
#ifndef GRAFT_NORM_H
#define GRAFT_NORM_H

#include "graft_elementwise.h"

/* Partial statistics of pixel tiles: tiles x 2 x channels, mean and sum of squared deviations. */
void gk_norm_moments(int threads, const float *x, float *statistics, int64_t pixels,
                     int64_t channels);

/* Joins partial statistics (Chan et al. 1979), in float64 and in the tiles' order.
 * sizes: pixels of tile t are sizes[0] but for every period-th tile, which has sizes[1].
 * variance is the biased one. */
void gk_norm_join(const float *statistics, int64_t tiles, int64_t period, const int64_t sizes[2],
                  int64_t channels, double *mean, double *variance);

/* Sums for the backward pass: of m and of m (x - mean), m the gradient before the rectifier.
 * sums: tiles x 2 x channels of workspace (gk_pixel_tiles). */
void gk_norm_reduce(int threads, gk_gradient_view gradient, const float *mean, float *sums,
                    int64_t pixels, int64_t channels);

/* From those sums the gradients of scale (weight) and shift (bias), and the coefficients a, b, c
 * with which gk_gradient_view gives the gradient with respect to x. deviation is 1 / sqrt(var +
 * eps). */
void gk_norm_backward(const float *sums, int64_t tiles, int64_t pixels, int64_t channels,
                      const float *weight, const float *mean, const float *deviation,
                      float *weight_gradient, float *bias_gradient, float *a, float *b, float *c);

#endif
