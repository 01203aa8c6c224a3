/* The gradient of a 3 x 3 kernel's weights through Winograd's transforms: that of out =
 * A' [ (G g G') * (B' in B) ] A is G' [ (A d A') * (B' in B) ] G, d being a square's 2 x 2 output
 * gradients. Products are added up at the 16 positions; the chunks' sums are joined and transformed
 * by G in the end (winograd_pack.c). Included by tiles_*.c. */

/* A d A' for `squares` neighbouring squares of a row; steps are winograd_read's. */
static void winograd_read_gradient(const float *d, int64_t d_row, int64_t d_step, int64_t filters,
                                   int64_t squares, float *to, int64_t step, int64_t position) {
  for (int64_t f = 0; f < filters; f += LANES) {
    for (int64_t square = 0; square < squares; ++square) {
      const float *from = d + 2 * square * d_step + f;
      vf column[2][4];
      UNROLL for (int j = 0; j < 2; ++j) {
        vf up = load(from + j * d_step), down = load(from + j * d_step + d_row);
        column[j][0] = up, column[j][1] = up + down, column[j][2] = up - down, column[j][3] = -down;
      }
      float *out = to + square * step + f;
      UNROLL for (int i = 0; i < 4; ++i) {
        vf left = column[0][i], right = column[1][i];
        store(out + (4 * i + 0) * position, left);
        store(out + (4 * i + 1) * position, left + right);
        store(out + (4 * i + 2) * position, left - right);
        store(out + (4 * i + 3) * position, -right);
      }
    }
  }
}

/* Squares that wait to be multiplied; x: of the input, d: of the output's gradient. */
typedef struct winograd_block {
  float *x, *d;
  int64_t squares;
} winograd_block;

/* Adds squares' products for `lanes` filters (at most SUBPANEL) and a multiple of 16 channels. */
static void winograd_weights(const weight_pixels *pixels, const float *x, const float *d,
                             int64_t channels, int64_t lanes, float *to, int64_t width) {
  int64_t j = 0;
#define WEIGHTS(V, J) \
  for (; j + J <= channels; j += J) weights_##V##_##J##_0(pixels, x + j, d, to + j * width, width);
#if LANES == 16
  if (lanes == 32) {
    WEIGHTS(2, 8)
  } else {
    WEIGHTS(1, 16)
  }
#else
  (void)lanes;
  WEIGHTS(2, 4)
#endif
#undef WEIGHTS
}

/* Adds the waiting squares' products to `sums`, [position][panel][channel][lane]. */
static void winograd_flush(const gk_convolution *s, winograd_block *waiting, float *sums) {
  int64_t channels = s->channels, filters = s->filters, block = gk_winograd_block(s);
  weight_pixels pixels = {1, 0, 0, 1, 0, 0, waiting->squares, channels, filters};
  for (int64_t p = 0; p < GK_POSITIONS && waiting->squares > 0; ++p) {
    const float *x = waiting->x + p * gk_winograd_position(block, channels),
                *d = waiting->d + p * gk_winograd_position(block, filters);
    for (int64_t lane = 0; lane < filters; lane += GK_PANEL) {
      int64_t width = gk_panel_width(lane, filters), part = gk_min(width, SUBPANEL);
      for (int64_t sub = 0; sub < width; sub += part) {
        float *to = sums + (p * filters + lane) * channels + sub;
        winograd_weights(&pixels, x, d + lane + sub, channels, part, to, width);
      }
    }
  }
  waiting->squares = 0;
}

/* A band's share: x its copied rows, d its gradient's first pixel. */
static void winograd_band(const gk_convolution *s, const float *x, const float *d, int64_t d_row,
                          int64_t rows, winograd_block *waiting, float *sums) {
  int64_t channels = s->channels, filters = s->filters, block = gk_winograd_block(s);
  int64_t across = s->out_width / 2, x_row = gk_in_width(s) * channels;
  for (int64_t y = 0; y < rows; y += 2) {
    for (int64_t t = 0, some; t < across; t += some) {
      if (waiting->squares == block) winograd_flush(s, waiting, sums);
      some = gk_min(across - t, block - waiting->squares);
      winograd_read(x + y * x_row + 2 * t * channels, x_row, channels, channels, some,
                    waiting->x + waiting->squares * channels, channels,
                    gk_winograd_position(block, channels));
      winograd_read_gradient(d + y * d_row + 2 * t * filters, d_row, filters, filters, some,
                             waiting->d + waiting->squares * filters, filters,
                             gk_winograd_position(block, filters));
      waiting->squares += some;
    }
  }
}
