/* Convolution over images that lie as N x H x W x C ("channels last"), float32.
 *
 * A kernel reads its input through a view that applies what comes before it (a batch norm's scale
 * and shift, a rectifier) while it copies a few padded rows into scratch memory: batch norm and
 * rectifier never make a pass over memory of their own. Backward, the gradient is read through a
 * view likewise. */
#ifndef GRAFT_CONVOLUTION_H
#define GRAFT_CONVOLUTION_H

#include <stddef.h>
#include <stdint.h>

/* value[c] = rectify(scale[c] * x[c] + shift[c]), rectify(v) = min(v > 0 ? v : slope * v, ceiling).
 */
typedef struct gk_view {
  const float *x;     /* N x H x W x C */
  const float *scale; /* C, or NULL for 1 and 0 */
  const float *shift;
  float slope;   /* 1 for no rectifier */
  float ceiling; /* 0 for none */
  /* 1: x is numbers in bfloat16, whatever its type says. All but pools and linear
   * layers read them. */
  int32_t halves;
} gk_view;

/* A gradient on its way back from a view's value to x. First through the rectifier,
 * m = g * (scale x + shift > 0 ? 1 : slope), 0 from the ceiling on; then, where a is not NULL,
 * through the batch norm, a[c] m + b[c] x + c[c] (the sums over the batch are in a, b and c:
 * gk_norm_backward). */
typedef struct gk_gradient_view {
  const float *g; /* N x H x W x C */
  gk_view value;  /* x may be NULL where there is neither rectifier nor a */
  const float *a, *b, *c;
} gk_gradient_view;

/* The sums that the batch norm before a convolution begins its backward pass with
 * (gk_norm_reduce), of the gradient that the convolution's backward pass writes and of the view
 * that it has read: left while both are in the caches. */
typedef struct gk_gradient_sums {
  const float *mean; /* C, the batch norm's */
  float *sums;       /* tiles x 2 x C; NULL if not wanted, and where there are no tiles */
} gk_gradient_sums;

typedef struct gk_convolution {
  int64_t n, height, width, channels;     /* input; n is at least 1 */
  int64_t out_height, out_width, filters; /* output */
  int64_t kernel_height, kernel_width;    /* at most GK_MAX_KERNEL */
  int64_t stride_height, stride_width;
  int64_t padding_height, padding_width;
  int64_t dilation_height, dilation_width;
  int64_t groups;
  /* 1 rounds what is multiplied to bfloat16, to nearest even, and adds up in float32. Computed
   * in float32 all the same: groups of fewer than 16 channels or filters, kernels larger than 1 x 1
   * that put out at most 16 pixels, and everything by the depthwise and grouped kernels. */
  int64_t bfloat16;
  /* 1, where gk_convolution_can_halve or the kernel is the depthwise one: out is numbers in
   * bfloat16, whatever its type says, and statistics are those before they were rounded. */
  int64_t halves;
} gk_convolution;

int gk_convolution_can_halve(const gk_convolution *s);

#define GK_MAX_KERNEL 31

/* Sizes, in floats, of what the caller provides. */
size_t gk_convolution_packed_size(const gk_convolution *s);          /* weights, forward */
size_t gk_convolution_packed_backward_size(const gk_convolution *s); /* weights, backward */
size_t gk_convolution_scratch_size(const gk_convolution *s);         /* for each worker */
size_t gk_convolution_partial_size(const gk_convolution *s);         /* all chunks of gradients */

/* Tiles that each leave 2 x filters floats of statistics. */
int64_t gk_convolution_tiles(const gk_convolution *s);
/* Pixels of a tile: sizes[1] in every period-th, sizes[0] in the others. Gives the period. */
int64_t gk_convolution_tile_pixels(const gk_convolution *s, int64_t sizes[2]);

/* Repacks weights, filters x channels/groups x kernel, for the kernels. */
void gk_convolution_pack(const gk_convolution *s, int threads, const float *weights, float *packed);
void gk_convolution_pack_backward(const gk_convolution *s, int threads, const float *weights,
                                  float *packed);

/* out = in * weights + bias. bias may be NULL. statistics, NULL or tiles x 2 x filters, receives
 * each tile's mean and sum of squared deviations for gk_norm_statistics. */
void gk_convolution_forward(const gk_convolution *s, int threads, gk_view in, const float *packed,
                            const float *bias, float *out, float *statistics, float *scratch);

/* Tiles of the sums (gk_gradient_sums) that the backward pass leaves; 0 where it leaves none. */
int64_t gk_convolution_sum_tiles(const gk_convolution *s);

/* Gradients, cut into tiles by shapes alone.
 * input_gradient: with respect to the view's value; NULL if not wanted; added to what is there
 * where accumulate is not 0. weights_gradient: filters x channels/groups x kernel, written;
 * bias_gradient: written, NULL if not wanted.
 * sums: of the input's gradient; not together with accumulate. */
void gk_convolution_backward(const gk_convolution *s, int threads, gk_view in,
                             gk_gradient_view gradient, const float *packed_backward,
                             float *input_gradient, int accumulate, gk_gradient_sums sums,
                             float *weights_gradient, float *bias_gradient, float *partial,
                             float *scratch);

#endif
