/* Winograd's way for 3 x 3 kernels: who takes it, and how its work is cut. Internal to the kernels.
 *
 * A square is 2 x 2 output pixels. Two ways share the transforms (winograd_tiles.h):
 * - of few channels, an image's band of rows is a tile, and a block of its squares is transformed,
 *   multiplied and transformed back while it stays in the cache;
 * - of many ("wide", winograd_wide_tiles.h), where the weights are more than a cache holds, a tile
 *   takes so many squares, of several images on small maps, that a read of the weights pays. They
 *   lie as for any other convolution; a panel's sixteen positions are made when a tile needs them.
 *   The weights' gradient is a product of matrices over many images, not a copy of the weights for
 *   every chunk of them. */
#ifndef GRAFT_WINOGRAD_PLAN_H
#define GRAFT_WINOGRAD_PLAN_H

#include "graft_convolution.h"
#include "integers.h"
#include "paired_plan.h"

#define GK_PANEL 32
#define GK_POSITIONS 16

/* Channels and filters together, beyond which a layer is wide. */
#define GK_WINOGRAD_WIDE 192
#define GK_WINOGRAD_SQUARES 64  /* in a wide tile */
#define GK_WINOGRAD_FILTERS 256 /* that a wide tile computes, at most */
#define GK_WINOGRAD_PIECE 320   /* channels whose products are added up one after the other */
/* Floats of a panel's weights at eight positions, for such a piece. */
#define GK_WINOGRAD_MADE (8 * GK_WINOGRAD_PIECE * GK_PANEL)
/* Floats of transformed inputs and gradients that wait for the weights' gradient, about. */
#ifndef GK_WINOGRAD_ROOM /* the tests want it smaller */
#define GK_WINOGRAD_ROOM (4 << 20)
#endif
#define GK_WINOGRAD_CHANNELS 64 /* in a block of the weights' gradient */

/* Whether a map's squares take clearly fewer products than the taps that lie inside it. */
static inline int gk_winograd_pays(int64_t height, int64_t width) {
  int64_t squares = gk_ceil_div(height, 2) * gk_ceil_div(width, 2);
  int64_t inside = (3 * height - 2) * (3 * width - 2);
  return 5 * GK_POSITIONS * squares < 4 * inside;
}

/* Taken where a product serves 16 channels and filters at least twice over: with fewer the
 * transforms and broadcasts cost what the products save. Where channels are few, maps must cut into
 * whole squares, and into enough of them that a read of the positions' weights pays. */
static inline int gk_is_winograd(const gk_convolution *s) {
  if (gk_is_paired(s)) return 0;
  int plain = s->kernel_height == 3 && s->kernel_width == 3 && s->stride_height == 1 &&
              s->stride_width == 1 && s->padding_height == 1 && s->padding_width == 1 &&
              s->dilation_height == 1 && s->dilation_width == 1 && s->groups == 1 &&
              s->channels % 16 == 0 && s->filters % 16 == 0 && s->channels >= 32 &&
              s->filters >= 32;
  if (!plain) return 0;
  if (s->channels + s->filters > GK_WINOGRAD_WIDE)
    return gk_winograd_pays(s->height, s->width) && s->width <= 2 * GK_WINOGRAD_SQUARES;
  return s->height % 2 == 0 && s->width % 2 == 0 && s->height * s->width >= 64;
}

static inline int gk_is_winograd_wide(const gk_convolution *s) {
  return gk_is_winograd(s) && s->channels + s->filters > GK_WINOGRAD_WIDE;
}

/* ---- a band's blocks ---- */

/* Squares in a block. */
static inline int64_t gk_winograd_block(const gk_convolution *s) {
  return gk_max(16, gk_min(128, 2048 / (s->channels + s->filters)));
}

/* Floats from one position to the next of a block with so many channels. A cache line more than
 * they take: sixteen positions at a power of two would fall on the same lines of the cache. */
static inline int64_t gk_winograd_position(int64_t block, int64_t channels) {
  return block * channels + 16;
}

/* Floats of scratch memory: squares that wait for the weights' gradient, and a grid's block. */
static inline int64_t gk_winograd_scratch(const gk_convolution *s) {
  if (!gk_is_winograd(s)) return 0;
  int64_t block = gk_winograd_block(s);
  return GK_POSITIONS *
         (gk_winograd_position(block, s->channels) + gk_winograd_position(block, s->filters) +
          gk_winograd_position(block, gk_max(s->channels, s->filters)) +
          gk_winograd_position(block, GK_PANEL));
}

/* ---- wide tiles ---- */

typedef struct gk_winograd_tiling {
  int64_t down, across; /* squares of an image */
  int64_t images, rows; /* in a tile: whole images, or rows of squares of one */
  int64_t bands;        /* of such rows in an image */
} gk_winograd_tiling;

static inline gk_winograd_tiling gk_winograd_tile(const gk_convolution *s) {
  gk_winograd_tiling t;
  t.down = gk_ceil_div(s->height, 2), t.across = gk_ceil_div(s->width, 2);
  t.images = gk_max(1, GK_WINOGRAD_SQUARES / (t.down * t.across));
  t.rows = gk_min(t.down, gk_max(1, GK_WINOGRAD_SQUARES / t.across));
  t.bands = gk_ceil_div(t.down, t.rows);
  return t;
}

/* Squares in a tile, at most. */
static inline int64_t gk_winograd_squares(const gk_winograd_tiling *t) {
  return t->images * t->rows * t->across;
}

/* Filters that a tile computes: equal parts, whole panels. */
static inline int64_t gk_winograd_filters(int64_t filters) {
  int64_t parts = gk_ceil_div(filters, GK_WINOGRAD_FILTERS);
  return gk_ceil_div(gk_ceil_div(filters, parts), GK_PANEL) * GK_PANEL;
}

/* Floats of scratch memory for a tile with so many input channels: its transformed squares, their
 * products, a panel's weights, and `copied` floats of rows. A line more between squares, as above.
 */
static inline int64_t gk_winograd_tile_scratch(const gk_convolution *s, int64_t channels,
                                               int64_t filters, int64_t copied) {
  gk_winograd_tiling t = gk_winograd_tile(s);
  int64_t squares = gk_winograd_squares(&t), made = gk_winograd_filters(filters);
  return GK_POSITIONS * (gk_winograd_position(squares, channels + 16) +
                         gk_winograd_position(squares, made + 16)) +
         GK_WINOGRAD_MADE + copied;
}

/* Tiles of a batch, for so many filters. */
static inline int64_t gk_winograd_tiles(const gk_convolution *s, int64_t filters) {
  gk_winograd_tiling t = gk_winograd_tile(s);
  return gk_ceil_div(s->n, t.images) * t.bands * gk_ceil_div(filters, gk_winograd_filters(filters));
}

/* ---- the wide weights' gradient: images whose squares wait together ---- */

static inline int64_t gk_winograd_images(const gk_convolution *s) {
  int64_t squares = gk_ceil_div(s->height, 2) * gk_ceil_div(s->width, 2);
  int64_t room = GK_WINOGRAD_ROOM / (GK_POSITIONS * (s->channels + s->filters));
  int64_t most = gk_max(1, room / squares), groups = gk_ceil_div(s->n, most);
  return gk_ceil_div(s->n, groups);
}

/* Floats of the sums, [position][panel][channel][lane]. */
static inline int64_t gk_winograd_sums(const gk_convolution *s) {
  return GK_POSITIONS * s->channels * s->filters;
}

/* Floats of the squares that wait, of an operand with so many channels. */
static inline int64_t gk_winograd_waiting(const gk_convolution *s, int64_t channels) {
  int64_t squares = gk_ceil_div(s->height, 2) * gk_ceil_div(s->width, 2);
  return GK_POSITIONS * gk_winograd_position(gk_winograd_images(s) * squares, channels);
}

#endif
