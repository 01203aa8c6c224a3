/* Small maps: which convolutions take images, not neighbouring pixels, together. Internal to the
 * kernels.
 *
 * On a 2 x 2 map a kernel of 3 x 3 meets 4 of its 9 taps, and a quad of neighbouring pixels is cut
 * by the row's end. Such a convolution is a product of matrices of its own at every output pixel:
 * a row for each image, the taps that lie inside for columns. The weights' gradient likewise is one
 * product over all images, made without a copy of the weights for every chunk of them. */
#ifndef GRAFT_ACROSS_PLAN_H
#define GRAFT_ACROSS_PLAN_H

#include "convolution_plan.h"

#define GK_ACROSS_PIXELS 64 /* of a map */
#define GK_ACROSS_CHANNELS 2048
#define GK_ACROSS_KERNEL 7    /* in height and width */
#define GK_ACROSS_FILTERS 256 /* that a tile computes */
#define GK_ACROSS_ROOM 98304  /* floats of input that a tile copies, where 12 images take less */

/* Images that share a read of the weights; from as many on a batch is taken across images. */
#define GK_ACROSS_LEAST 4

/* Whether the shape allows both passes to work across images. */
static inline int gk_fits_across(const gk_convolution *s) {
  return !gk_is_paired(s) && s->groups == 1 && s->stride_height == 1 && s->stride_width == 1 &&
         s->dilation_height == 1 && s->dilation_width == 1 && !gk_is_winograd(s) &&
         s->kernel_height * s->kernel_width > 1 && s->kernel_height <= GK_ACROSS_KERNEL &&
         s->kernel_width <= GK_ACROSS_KERNEL && s->padding_height < s->kernel_height &&
         s->padding_width < s->kernel_width && s->height * s->width <= GK_ACROSS_PIXELS &&
         s->out_height * s->out_width <= GK_ACROSS_PIXELS && s->out_width < 16 &&
         s->channels % 16 == 0 && s->filters % 16 == 0 && s->channels >= 32 && s->filters >= 32 &&
         s->channels <= GK_ACROSS_CHANNELS && s->filters <= GK_ACROSS_CHANNELS;
}

/* Whether they do. (A batch of fewer images goes another way, to the same bits.) */
static inline int gk_is_across(const gk_convolution *s) {
  return s->n >= GK_ACROSS_LEAST && gk_fits_across(s);
}

/* Images in a tile whose input takes so many floats each. */
static inline int64_t gk_across_images(int64_t floats) {
  return gk_max(12, gk_min(48, GK_ACROSS_ROOM / floats / 12 * 12));
}

/* Floats from one copied image to the next: a cache line more than they take, since images at a
 * power of two would fall on the same lines of the cache. */
static inline int64_t gk_across_step(int64_t floats) { return floats + 16; }

/* Floats of scratch memory for either pass. */
static inline int64_t gk_across_scratch(const gk_convolution *s) {
  if (!gk_is_across(s)) return 0;
  int64_t in = s->height * s->width * s->channels, out = s->out_height * s->out_width * s->filters;
  return gk_max(gk_across_images(in) * gk_across_step(in),
                gk_across_images(out) * gk_across_step(out));
}

/* ---- the weights' gradient by itself ----
 * Taken where the weights are many and the maps small, so that sums for every chunk of images would
 * cost more than the products, or more than copies of the images. A tile is a panel of filters and
 * a block of channels; it walks all images, which lie as [block of channels][pixel][channel] and
 * [panel][pixel][lane]. */
#define GK_APART_CHANNELS 64 /* in a block */
#define GK_APART_IMAGES 16   /* that are packed at once */
#define GK_APART_PIXELS 512  /* whose products are added up one after the other */

static inline int gk_is_apart(const gk_convolution *s) {
  if (gk_is_paired(s) || s->groups > 1 || s->dilation_height > 1 || s->dilation_width > 1 ||
      gk_is_winograd(s) || s->kernel_height > GK_ACROSS_KERNEL ||
      s->kernel_width > GK_ACROSS_KERNEL)
    return 0;
  int64_t pixels = s->height * s->width, out_pixels = s->out_height * s->out_width;
  int64_t kernel = s->kernel_height * s->kernel_width, weights = s->channels * s->filters * kernel;
  int small = pixels <= GK_ACROSS_PIXELS && out_pixels <= GK_ACROSS_PIXELS &&
              (kernel > 1 || out_pixels <= 16);
  int many = 2 * gk_chunks(s) * weights >= s->n * (pixels * s->channels + out_pixels * s->filters);
  return weights >= 1 << 15 && (small || many);
}

/* Floats of all images as they are packed: the input's, and behind them the output gradient's. */
static inline int64_t gk_apart_input(const gk_convolution *s) {
  int64_t blocks = gk_ceil_div(s->channels, GK_APART_CHANNELS);
  return blocks * GK_APART_CHANNELS * s->n * s->height * s->width;
}
static inline int64_t gk_apart_size(const gk_convolution *s) {
  int64_t panels = gk_ceil_div(s->filters, GK_PANEL);
  return gk_apart_input(s) + panels * GK_PANEL * s->n * s->out_height * s->out_width;
}

/* Floats of scratch memory: a tile's sums, [channel][tap][lane]. */
static inline int64_t gk_apart_scratch(const gk_convolution *s) {
  if (!gk_is_apart(s)) return 0;
  return GK_APART_CHANNELS * s->kernel_height * s->kernel_width * GK_PANEL;
}

#endif
