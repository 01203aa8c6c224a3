/* Winograd's minimal filtering F(2x2, 3x3), for vectors of LANES floats: four outputs of a 3 x 3
 * kernel for 16 products a channel instead of 36 (Lavin and Gray, arXiv 1509.09308). Included by
 * tiles_*.c.
 *
 * A square is 2 x 2 output pixels and the 4 x 4 input pixels that they need. A block of squares is
 * transformed to 16 positions, each position is multiplied by its own matrix of weights, and the
 * products are transformed back:
 *
 *     out = A' [ (G g G') * (B' in B) ] A
 *
 * with a product of matrices over the channels at each position. Transformed inputs lie as
 * [position][square][channel], weights as [position][panel][channel][lane] (winograd_pack.c). */

/* B' of four vectors. */
#define WINOGRAD_INPUT(d0, d1, d2, d3, to) \
  to[0] = d0 - d2, to[1] = d1 + d2, to[2] = d2 - d1, to[3] = d1 - d3

/* `squares` neighbouring squares of a row. in: the first one's upper left pixel; in_step: floats
 * from a pixel to the next; step, position: from one square, one position to the next. */
static void winograd_read(const float *in, int64_t in_row, int64_t in_step, int64_t channels,
                          int64_t squares, float *to, int64_t step, int64_t position) {
  for (int64_t c = 0; c < channels; c += LANES) {
    vf column[4][4]; /* the last two are the next square's first two */
    UNROLL for (int j = 0; j < 2; ++j) {
      const float *at = in + j * in_step + c;
      WINOGRAD_INPUT(load(at), load(at + in_row), load(at + 2 * in_row), load(at + 3 * in_row),
                     column[j]);
    }
    for (int64_t square = 0; square < squares; ++square) {
      UNROLL for (int j = 2; j < 4; ++j) {
        const float *at = in + (2 * square + j) * in_step + c;
        WINOGRAD_INPUT(load(at), load(at + in_row), load(at + 2 * in_row), load(at + 3 * in_row),
                       column[j]);
      }
      float *out = to + square * step + c;
      UNROLL for (int i = 0; i < 4; ++i) {
        vf row[4];
        WINOGRAD_INPUT(column[0][i], column[1][i], column[2][i], column[3][i], row);
        UNROLL for (int j = 0; j < 4; ++j) store(out + (4 * i + j) * position, row[j]);
        column[0][i] = column[2][i], column[1][i] = column[3][i];
      }
    }
  }
}

/* What the products of a position walk over. */
typedef struct winograd_walk {
  int64_t in_step, channels; /* floats from one square to the next; products of a sum */
  int64_t width;             /* of the weights: floats from a channel to the next */
  int64_t step;              /* of the products: floats from one square to the next */
  int more;                  /* add to what is there */
} winograd_walk;

/* One position's products for T squares and V vectors of filters. */
#define WINOGRAD_MICRO(V, T)                                                                       \
  static void winograd_##V##_##T(const winograd_walk *walk, const float *in, const float *weights, \
                                 float *out) {                                                     \
    int64_t in_step = walk->in_step, width = walk->width, step = walk->step;                       \
    vf sums[T][V];                                                                                 \
    UNROLL for (int t = 0; t < T; ++t) UNROLL for (int v = 0; v < V; ++v) sums[t][v] = splat(0);   \
    const float *base[(T + 3) / 4];                                                                \
    UNROLL for (int q = 0; q < (T + 3) / 4; ++q) base[q] = in + 4 * q * in_step;                   \
    for (int64_t c = walk->channels; c > 0; --c) {                                                 \
      vf w[V];                                                                                     \
      UNROLL for (int v = 0; v < V; ++v) w[v] = load(weights + v * LANES);                         \
      UNROLL for (int t = 0; t < T; ++t) {                                                         \
        vf x = splat(base[t / 4][(t % 4) * in_step]);                                              \
        UNROLL for (int v = 0; v < V; ++v) sums[t][v] += x * w[v];                                 \
      }                                                                                            \
      UNROLL for (int q = 0; q < (T + 3) / 4; ++q) base[q] += 1;                                   \
      weights += width;                                                                            \
    }                                                                                              \
    if (walk->more)                                                                                \
      UNROLL for (int t = 0; t < T; ++t) UNROLL for (int v = 0; v < V; ++v) sums[t][v] +=          \
          load(out + t * step + v * LANES);                                                        \
    UNROLL for (int t = 0; t < T; ++t) UNROLL for (int v = 0; v < V; ++v)                          \
        store(out + t * step + v * LANES, sums[t][v]);                                             \
  }

WINOGRAD_MICRO(2, 4)
WINOGRAD_MICRO(2, 1)
#if LANES == 16
WINOGRAD_MICRO(2, 12)
WINOGRAD_MICRO(2, 8)
WINOGRAD_MICRO(1, 24)
WINOGRAD_MICRO(1, 16)
WINOGRAD_MICRO(1, 8)
WINOGRAD_MICRO(1, 1)
#endif

/* One position's products for a block of squares and `lanes` filters (at most SUBPANEL). */
static void winograd_multiply(const winograd_walk *walk, const float *in, int64_t squares,
                              const float *weights, int64_t lanes, float *out) {
  int64_t t = 0;
#define SQUARES(V, T)              \
  for (; t + T <= squares; t += T) \
    winograd_##V##_##T(walk, in + t * walk->in_step, weights, out + t * walk->step);
#if LANES == 16
  if (lanes == 32) {
    for (; squares - t >= 12 && squares - t != 16; t += 12)
      winograd_2_12(walk, in + t * walk->in_step, weights, out + t * walk->step);
    SQUARES(2, 8) SQUARES(2, 4) SQUARES(2, 1)
  } else {
    if (squares % 24 < 8) SQUARES(1, 24)
    SQUARES(1, 16) SQUARES(1, 8) SQUARES(1, 1)
  }
#else
  (void)lanes;
  SQUARES(2, 4) SQUARES(2, 1)
#endif
#undef SQUARES
}

/* Back to pixels: A' m A for `squares` neighbouring squares of a row and `lanes` filters. down,
 * right: whether the lower row's pixels and the last square's right ones are there. */
static void winograd_write(const float *products, int64_t position, int64_t step, int64_t squares,
                           int64_t lanes, const float *bias, int accumulate, int down, int right,
                           float *out, int64_t out_row, int64_t out_step) {
  for (int64_t lane = 0; lane < lanes; lane += LANES) {
    vf start = bias != NULL ? load(bias + lane) : splat(0);
    for (int64_t square = 0; square < squares; ++square) {
      const float *from = products + square * step + lane;
      int both = right || square + 1 < squares;
      vf sums[2][4];
      UNROLL for (int j = 0; j < 4; ++j) {
        vf m[4];
        UNROLL for (int i = 0; i < 4; ++i) m[i] = load(from + (4 * i + j) * position);
        sums[0][j] = m[0] + m[1] + m[2];
        sums[1][j] = m[1] - m[2] - m[3];
      }
      float *to = out + 2 * square * out_step + lane;
      for (int i = 0; i <= down; ++i) {
        vf left = start, beside = start;
        if (accumulate) {
          left += load(to + i * out_row);
          if (both) beside += load(to + i * out_row + out_step);
        }
        store(to + i * out_row, left + (sums[i][0] + sums[i][1] + sums[i][2]));
        if (both)
          store(to + i * out_row + out_step, beside + (sums[i][1] - sums[i][2] - sums[i][3]));
      }
    }
  }
}

/* A grid of output pixels, rows x columns (both even), like grid() of convolution_tiles.h.
 * scratch: GK_POSITIONS positions of a block with in_channels, and as many with GK_PANEL. */
static void winograd_grid(const float *weights, const float *bias, int64_t rows, int64_t columns,
                          const float *in, int64_t in_row, int64_t in_channels, float *out,
                          int64_t out_row, int64_t out_step, int64_t channels, int accumulate,
                          int64_t block, float *scratch) {
  int64_t across = columns / 2, all = rows / 2 * across, padded = gk_padded(channels);
  int64_t position = gk_winograd_position(block, in_channels);
  float *products = scratch + GK_POSITIONS * position;
  for (int64_t first = 0; first < all; first += block) {
    int64_t squares = gk_min(block, all - first);
    for (int64_t t = 0, some; t < squares; t += some) {
      int64_t y = (first + t) / across, x = (first + t) % across;
      some = gk_min(across - x, squares - t);
      winograd_read(in + 2 * y * in_row + 2 * x * in_channels, in_row, in_channels, in_channels,
                    some, scratch + t * in_channels, in_channels, position);
    }
    for (int64_t lane = 0; lane < channels; lane += GK_PANEL) {
      int64_t width = gk_panel_width(lane, padded), part = gk_min(width, SUBPANEL);
      int64_t product = gk_winograd_position(block, width);
      winograd_walk walk = {in_channels, in_channels, width, width, 0};
      for (int64_t p = 0; p < GK_POSITIONS; ++p)
        for (int64_t sub = 0; sub < width; sub += part)
          winograd_multiply(&walk, scratch + p * position, squares,
                            weights + (p * padded + lane) * in_channels + sub, part,
                            products + p * product + sub);
      for (int64_t t = 0, some; t < squares; t += some) {
        int64_t y = (first + t) / across, x = (first + t) % across;
        some = gk_min(across - x, squares - t);
        winograd_write(products + t * width, product, width, some, width,
                       bias != NULL ? bias + lane : NULL, accumulate, 1, 1,
                       out + 2 * y * out_row + 2 * x * out_step + lane, out_row, out_step);
      }
    }
  }
}
