/* Which convolutions take the pixels of all images as the rows of one matrix, and how that product
 * is cut. Internal to the kernels.
 *
 * A tile of one image's rows reads all weights for a few dozen pixels, and ends each row with a
 * quad that is not full: where weights are many and maps small it waits for them. Here a tile
 * gathers pixels wherever they lie, in whichever image, the inputs of all their taps side by side,
 * and multiplies them with one panel of filters after the other. The gradient of the input is such
 * a product too, one for each phase of the stride. */
#ifndef GRAFT_FLAT_PLAN_H
#define GRAFT_FLAT_PLAN_H

#include "across_plan.h"

#define GK_FLAT_PIXELS 96 /* of a block, at most */
#define GK_FLAT_TILES 6   /* that there should be, for the threads */
#define GK_FLAT_PART 64   /* filters of a tile, at least */
#define GK_FLAT_TERMS 512 /* that are added up one after the other */
/* Where there are many blocks of pixels, a tile takes a group of them. */
#define GK_FLAT_GROUP 4
#ifndef GK_FLAT_MANY /* the tests want it smaller */
#define GK_FLAT_MANY 64
#endif
/* Pixels up to which statistics are left of a quarter of a block each. */
#define GK_FLAT_SHARES 4096
#define GK_FLAT_STRIDE 2
#define GK_FLAT_TAPS (GK_ACROSS_KERNEL * GK_ACROSS_KERNEL)

/* Every 1 x 1; a larger kernel, whose inputs have to be gathered tap by tap, where weights are many
 * and the map's rows do not end with a full quad. */
static inline int gk_is_flat(const gk_convolution *s) {
  int64_t kernel = s->kernel_height * s->kernel_width;
  int ragged = s->out_width % 4 != 0 || s->out_height * s->out_width < 64;
  return !gk_is_paired(s) && s->groups == 1 && s->dilation_height == 1 && s->dilation_width == 1 &&
         s->stride_height <= GK_FLAT_STRIDE && s->stride_width <= GK_FLAT_STRIDE &&
         s->kernel_height <= GK_ACROSS_KERNEL && s->kernel_width <= GK_ACROSS_KERNEL &&
         s->channels % 16 == 0 && s->filters % 16 == 0 && !gk_is_winograd(s) && !gk_is_narrow(s) &&
         !gk_fits_across(s) &&
         (kernel == 1 || (ragged && s->channels * s->filters * kernel >= 1 << 15));
}

/* Whether the input's gradient is made so too. Where the weights' gradient is not made by itself,
 * the output's gradient is then read twice: that pays where it is small and the weights are many,
 * or where a stride cuts the input's rows. */
static inline int gk_is_flat_back(const gk_convolution *s) {
  if (!gk_is_flat(s)) return 0;
  int small = s->out_height * s->out_width * s->filters <= s->height * s->width * s->channels;
  int many = s->channels * s->filters >= 1 << 14 || s->stride_height * s->stride_width > 1;
  return gk_is_apart(s) || (small && many);
}

/* A product: output pixels by filters, over taps by channels. */
typedef struct gk_product {
  int64_t images, rows, columns;             /* the pixels that it makes */
  int64_t out, out_image, out_row, out_step; /* floats to the first of them, from one to the next */
  int64_t height, width, channels;           /* of the images that it reads */
  int64_t step_y, step_x;                    /* pixels of theirs for one of the output's */
  int64_t taps;
  int64_t tap_y[GK_FLAT_TAPS], tap_x[GK_FLAT_TAPS];
  int64_t filters, weights; /* floats to where the weights begin */
  int64_t blocks, pixels;   /* blocks of pixels, and pixels in each but the last */
  int64_t parts, part;      /* of the filters likewise */
  int64_t group;            /* blocks that a tile takes one after the other */
  int64_t share;            /* pixels that share statistics */
} gk_product;

typedef struct gk_products {
  int64_t count, tiles;
  gk_product product[GK_FLAT_STRIDE * GK_FLAT_STRIDE];
} gk_products;

/* Cuts a product into tiles, whichever thread takes them. */
static inline void gk_cut_product(gk_product *p) {
  /* A map whose pixels are read one by one is a single row. */
  if (p->taps == 1 && p->step_y == 1 && p->step_x == 1 && p->tap_y[0] == 0 && p->tap_x[0] == 0 &&
      p->rows == p->height && p->columns == p->width && p->out_row == p->columns * p->out_step &&
      p->out_image == p->rows * p->out_row) {
    p->columns *= p->images * p->rows, p->width = p->columns;
    p->images = p->rows = p->height = 1;
  }
  int64_t pixels = p->images * p->rows * p->columns;
  p->blocks = gk_ceil_div(pixels, GK_FLAT_PIXELS);
  p->pixels = p->blocks > 0 ? gk_ceil_div(gk_ceil_div(pixels, p->blocks), 12) * 12 : 0;
  if (p->blocks > 0) p->blocks = gk_ceil_div(pixels, p->pixels);
  /* (Short sums are exact ones; where pixels are many, joining so many would take longer.) */
  p->share = pixels <= GK_FLAT_SHARES ? p->pixels / 4 : p->pixels;
  p->parts = gk_max(1, gk_min(gk_ceil_div(GK_FLAT_TILES, gk_max(1, p->blocks)),
                              gk_ceil_div(p->filters, GK_FLAT_PART)));
  p->part = gk_ceil_div(gk_ceil_div(p->filters, p->parts), GK_PANEL) * GK_PANEL;
  p->parts = gk_ceil_div(p->filters, p->part);
  p->group = p->blocks >= GK_FLAT_MANY ? GK_FLAT_GROUP : 1;
}

/* Tiles of the product. */
static inline int64_t gk_product_tiles(const gk_product *p) {
  return gk_ceil_div(p->blocks, p->group) * p->parts;
}

static inline void gk_forward_product(const gk_convolution *s, gk_product *p) {
  *p = (gk_product){.images = s->n,
                    .rows = s->out_height,
                    .columns = s->out_width,
                    .out_image = s->out_height * s->out_width * s->filters,
                    .out_row = s->out_width * s->filters,
                    .out_step = s->filters,
                    .height = s->height,
                    .width = s->width,
                    .channels = s->channels,
                    .step_y = s->stride_height,
                    .step_x = s->stride_width,
                    .filters = s->filters};
  for (int64_t y = 0; y < s->kernel_height; ++y)
    for (int64_t x = 0; x < s->kernel_width; ++x, ++p->taps) {
      p->tap_y[p->taps] = y - s->padding_height;
      p->tap_x[p->taps] = x - s->padding_width;
    }
  gk_cut_product(p);
}

/* The input's gradient, phase by phase (convolution_plan.h). */
static inline void gk_input_products(const gk_convolution *s, gk_products *all) {
  int64_t row = s->width * s->channels, weights = 0;
  all->count = all->tiles = 0;
  for (int64_t py = 0; py < s->stride_height; ++py)
    for (int64_t px = 0; px < s->stride_width; ++px) {
      gk_axis_taps ty, tx;
      gk_phase_taps(s->kernel_height, s->stride_height, s->padding_height, 1, py, &ty);
      gk_phase_taps(s->kernel_width, s->stride_width, s->padding_width, 1, px, &tx);
      gk_product *p = &all->product[all->count++];
      *p = (gk_product){.images = s->n,
                        .rows = py < s->height ? gk_ceil_div(s->height - py, s->stride_height) : 0,
                        .columns = px < s->width ? gk_ceil_div(s->width - px, s->stride_width) : 0,
                        .out = py * row + px * s->channels,
                        .out_image = s->height * row,
                        .out_row = s->stride_height * row,
                        .out_step = s->stride_width * s->channels,
                        .height = s->out_height,
                        .width = s->out_width,
                        .channels = s->filters,
                        .step_y = 1,
                        .step_x = 1,
                        .filters = s->channels,
                        .weights = weights};
      for (int64_t y = 0; y < ty.count; ++y)
        for (int64_t x = 0; x < tx.count; ++x, ++p->taps) {
          p->tap_y[p->taps] = ty.offset[y];
          p->tap_x[p->taps] = tx.offset[x];
        }
      weights += p->taps * s->filters * s->channels;
      gk_cut_product(p);
      all->tiles += gk_product_tiles(p);
    }
}

/* Floats from a gathered pixel to the next: a cache line more than so many terms take, since pixels
 * at a power of two would fall on the same lines of the cache. */
static inline int64_t gk_flat_step(int64_t terms) { return gk_ceil_div(terms, 16) * 16 + 16; }

/* Floats of scratch memory: a tile's pixels with the terms of one sum. */
static inline int64_t gk_flat_scratch(const gk_convolution *s) {
  if (!gk_is_flat(s)) return 0;
  int64_t terms = s->kernel_height * s->kernel_width * gk_max(s->channels, s->filters);
  return GK_FLAT_PIXELS * gk_flat_step(gk_min(terms, GK_FLAT_TERMS));
}

#endif
