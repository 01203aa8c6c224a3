/* The loops that are compiled once for each instruction set, behind one table. Internal.
 *
 * tiles_baseline.c, tiles_avx2.c, tiles_avx512.c and tiles_avx512bf16.c each include the same
 * *_tiles.h files with their own vector width; a driver (convolution_forward.c, ...) picks the
 * table at run time and hands its tile function to gk_parallel_for. */
#ifndef GRAFT_TILES_H
#define GRAFT_TILES_H

#include "across_plan.h"
#include "concatenation_jobs.h"
#include "convolution_plan.h"
#include "depthwise_plan.h"
#include "dropout_jobs.h"
#include "elementwise_jobs.h"
#include "flat_plan.h"
#include "graft_parallel.h"
#include "local_plan.h"
#include "pooling_jobs.h"

/* What a forward tile works on. */
typedef struct gk_forward_job {
  const gk_convolution *shape;
  gk_view in;
  const float *packed, *bias;
  float *out, *statistics, *scratch;
  int64_t scratch_stride, band, bands;
  const gk_runs *runs;
} gk_forward_job;

/* What a backward chunk works on. */
typedef struct gk_backward_job {
  const gk_convolution *shape;
  gk_view in;
  gk_gradient_view gradient;
  const float *packed;
  float *input_gradient;
  int accumulate, want_bias;
  float *partial, *scratch;
  int64_t scratch_stride, partial_stride, weight_size, chunk_images;
  int64_t halo_top, halo_bottom, halo_left, halo_right;
  int whole; /* an image's output gradient fits in scratch memory as a whole */
  /* Images whose weight gradients are added up before they are written, and the floats of each
   * one's rows in scratch memory. */
  int64_t together, rows_size;
  const gk_runs *runs;
  int apart; /* the weights' gradient is made by itself (across_plan.h) */
  float *weights_gradient, *bias_gradient;
  gk_gradient_sums sums; /* a tile is a chunk */
} gk_backward_job;

/* Images of a batch whose squares wait for the weights' gradient (winograd_wide_tiles.h). */
typedef struct gk_winograd_job {
  const gk_backward_job *backward;
  int64_t image, images; /* the first, and how many */
  int64_t rows;          /* of squares, that a worker copies at once */
  float *x, *d;
} gk_winograd_job;

/* Weights on their way to the sixteen positions and back (winograd_pack_tiles.h). */
typedef struct gk_winograd_weights_job {
  int64_t out, in;               /* channels that the packed weights make, and that they take */
  int64_t out_stride, in_stride; /* of the weights */
  int flipped;                   /* the kernel turned round */
  const float *from;
  float *to;
  int64_t chunks, stride; /* of sums to join, and floats from one to the next */
} gk_winograd_weights_job;

/* What a product over all pixels works on, in either pass (flat_plan.h). */
typedef struct gk_flat_job {
  gk_products products;
  gk_view in;
  gk_gradient_view gradient;
  const float *packed, *bias;
  float *out, *statistics, *scratch;
  int accumulate;
  gk_gradient_sums sums; /* of a tile's pixels */
  int64_t scratch_stride;
} gk_flat_job;

/* What both passes of a depthwise convolution work on. */
typedef struct gk_depthwise_job {
  const gk_convolution *shape;
  gk_view in;
  const float *packed, *bias;
  float *out, *statistics, *scratch;
  int64_t scratch_stride, band, bands;
  int64_t together; /* bands that a thread takes one after the other */
  gk_gradient_view gradient;
  float *input_gradient;
  int accumulate, want_bias;
  gk_gradient_sums sums; /* a tile is a chunk */
  float *partial;
  int64_t partial_stride, chunk_images;
  gk_depthwise_halo halo;
} gk_depthwise_job;

typedef struct gk_tiles {
  gk_tile convolution_forward, convolution_backward, depthwise_forward, depthwise_backward;
  gk_tile winograd_forward, winograd_input, winograd_wait, winograd_weights;
  gk_tile winograd_pack, winograd_unpack;
  gk_tile across_forward, across_input, apart_pack, apart_weights;
  gk_tile flat_forward, flat_input;
  gk_tile sum, rectify, apply, moments, reduce, sgd;
  gk_tile concatenate, split, dropout, dropout_backward;
  gk_tile pool, pool_backward, global_pool, global_pool_backward, shortcut, shortcut_backward;
  gk_tile grouped_forward, grouped_backward;
} gk_tiles;

extern const gk_tiles gk_tiles_baseline, gk_tiles_avx2, gk_tiles_avx512, gk_tiles_avx512bf16;

/* The table for this processor. */
const gk_tiles *gk_tiles_here(void);

#endif
