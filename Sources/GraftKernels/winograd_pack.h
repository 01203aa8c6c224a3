/* Internal to the kernels: what winograd_pack.c gives the convolution. */
#ifndef GRAFT_WINOGRAD_PACK_H
#define GRAFT_WINOGRAD_PACK_H

#include "convolution_plan.h"

void gk_winograd_pack(const gk_convolution *s, int threads, const float *weights, float *packed);
void gk_winograd_pack_backward(const gk_convolution *s, int threads, const float *weights,
                               float *packed);

/* Adds up the chunks' sums, `stride` floats apart, and writes the gradients, filters x channels x 3
 * x 3. */
void gk_winograd_unpack(const gk_convolution *s, int threads, const float *partial, int64_t chunks,
                        int64_t stride, float *weights);

#endif
