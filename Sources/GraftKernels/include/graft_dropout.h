/* Dropout (Srivastava et al. 2014): a number is kept with probability 1 - p and then divided by it,
 * or becomes 0. Images lie as N x H x W x C.
 *
 * What is dropped is a function of a counter (Philox4x32-10; Salmon et al. 2011): element e of
 * image n, counted as it lies in memory, is kept where word e % 4 of the block with the counter
 * (e / 4, layer, n, 0) under the key is at least the threshold. */
#ifndef GRAFT_DROPOUT_H
#define GRAFT_DROPOUT_H

#include "graft_convolution.h"

typedef struct gk_dropout {
  int64_t n, pixels, channels; /* pixels of one image */
  uint32_t key[2];
  uint32_t layer;
  uint32_t threshold; /* p * 2^32 */
  float scale;        /* 1 / (1 - p) */
} gk_dropout;

void gk_dropout_forward(const gk_dropout *s, int threads, gk_view in, float *out);

/* gradient *= what out was multiplied by, in place. */
void gk_dropout_backward(const gk_dropout *s, int threads, float *gradient);

#endif
