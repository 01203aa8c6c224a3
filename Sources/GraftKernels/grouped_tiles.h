/* The loops of the convolution in narrow groups, for vectors of LANES floats. Included by tiles_*.c
 * after depthwise_tiles.h, whose copies of rows they work on.
 *
 * A vector of filters belongs to several groups, and each of its lanes needs its own group's
 * channel j: one shuffle of the pixel's vector where groups are narrower than a vector, else a
 * broadcast. For three taps side by side, shuffled once, a pixel meets the three pixels that it
 * contributes to. */

#if LANES == 16
#define SPREAD4(v, j)                                                                        \
  __builtin_shufflevector(v, v, j, j, j, j, 4 + j, 4 + j, 4 + j, 4 + j, 8 + j, 8 + j, 8 + j, \
                          8 + j, 12 + j, 12 + j, 12 + j, 12 + j)
#define SPREAD8(v, j)                                                                             \
  __builtin_shufflevector(v, v, j, j, j, j, j, j, j, j, 8 + j, 8 + j, 8 + j, 8 + j, 8 + j, 8 + j, \
                          8 + j, 8 + j)
#elif LANES == 8
#define SPREAD4(v, j) __builtin_shufflevector(v, v, j, j, j, j, 4 + j, 4 + j, 4 + j, 4 + j)
#endif

/* Channel j of every lane's group. from: the vector's first lane; back: its place in its group. */
INLINE vf spread(const int w, const float *from, int64_t back, const int j) {
#if LANES > 4
  if (w == 4) {
    vf v = load(from);
    return j == 0 ? SPREAD4(v, 0) : j == 1 ? SPREAD4(v, 1) : j == 2 ? SPREAD4(v, 2) : SPREAD4(v, 3);
  }
#endif
#if LANES > 8
  if (w == 8) {
    vf v = load(from);
    switch (j) {
      case 0:
        return SPREAD8(v, 0);
      case 1:
        return SPREAD8(v, 1);
      case 2:
        return SPREAD8(v, 2);
      case 3:
        return SPREAD8(v, 3);
      case 4:
        return SPREAD8(v, 4);
      case 5:
        return SPREAD8(v, 5);
      case 6:
        return SPREAD8(v, 6);
      default:
        return SPREAD8(v, 7);
    }
  }
#endif
  return splat(from[j - back]);
}

/* BODY for every channel j of a group; unrolled where a shuffle has to know it. */
#define EACH_CHANNEL(w, BODY)                    \
  if (w < LANES) {                               \
    UNROLL for (int j = 0; j < w; ++j) { BODY; } \
  } else {                                       \
    for (int j = 0; j < w; ++j) {                \
      BODY;                                      \
    }                                            \
  }

/* Channel j's share of one tap of `pixels` neighbouring pixels. */
INLINE void grouped_tap(const int w, const int pixels, const int j, vf *sums, const float *weights,
                        const float *in, int64_t in_step, int64_t back) {
  vf weight = load(weights);
  UNROLL for (int p = 0; p < pixels; ++p) sums[p] += spread(w, in + p * in_step, back, j) * weight;
}

/* The same of three taps side by side, of pixels that are neighbours in the input as well. */
INLINE void grouped_three(const int w, const int pixels, const int j, vf *sums,
                          const float *const *weights, int64_t at, const float *in, int64_t in_step,
                          int64_t back) {
  vf weight[3];
  UNROLL for (int k = 0; k < 3; ++k) weight[k] = load(weights[k] + at);
  UNROLL for (int p = 0; p < pixels + 2; ++p) {
    vf x = spread(w, in + p * in_step, back, j);
    UNROLL for (int k = 0; k < 3; ++k) if (p >= k && p - k < pixels) sums[p - k] += x * weight[k];
  }
}

/* What a row of pixels is computed from, for one vector of filters. */
typedef struct grouped_job {
  const depthwise_taps *taps;
  int threes; /* taps come in threes side by side */
  const float *weights;
  int64_t lanes; /* floats from a channel's weights to the next one's */
  vf start;
  const float *in;
  int64_t in_step, back; /* back: the vector's place in its group */
  float *out;
  int64_t out_step;
  int accumulate;
} grouped_job;

INLINE void grouped_some(const int w, const int pixels, const int threes, const grouped_job *job,
                         int64_t x) {
  const float *in = job->in + x * job->in_step;
  float *out = job->out + x * job->out_step;
  int64_t step = job->in_step, lanes = job->lanes;
  vf sums[16];
  UNROLL for (int p = 0; p < pixels; ++p) sums[p] =
      job->accumulate ? load(out + p * job->out_step) : job->start;
  for (int64_t t = 0; t < job->taps->count; t += threes ? 3 : 1) {
    const float *from = in + job->taps->offset[t], *to[3];
    for (int k = 0; k < (threes ? 3 : 1); ++k) to[k] = job->weights + job->taps->weight[t + k];
    if (threes) {
      EACH_CHANNEL(w, grouped_three(w, pixels, j, sums, to, j * lanes, from, step, job->back))
    } else {
      EACH_CHANNEL(w, grouped_tap(w, pixels, j, sums, to[0] + j * lanes, from, step, job->back))
    }
  }
  UNROLL for (int p = 0; p < pixels; ++p) store(out + p * job->out_step, sums[p]);
}

/* Sums that stay in registers beside a tap's three weights. */
#define GROUPED_PIXELS (LANES == 16 ? 16 : 8)

/* A row of `columns` pixels: in blocks, the last of which may take pixels once more. */
#define GROUPED_ROW(W)                                                   \
  static void grouped_row_##W(const grouped_job *job, int64_t columns) { \
    int64_t x = 0;                                                       \
    if (job->threes) {                                                   \
      for (; x + GROUPED_PIXELS <= columns; x += GROUPED_PIXELS)         \
        grouped_some(W, GROUPED_PIXELS, 1, job, x);                      \
      for (; x + 4 <= columns; x += 4) grouped_some(W, 4, 1, job, x);    \
      if (x < columns && columns >= 4 && !job->accumulate) {             \
        grouped_some(W, 4, 1, job, columns - 4);                         \
        return;                                                          \
      }                                                                  \
    } else {                                                             \
      for (; x + 8 <= columns; x += 8) grouped_some(W, 8, 0, job, x);    \
      if (x < columns && columns >= 8 && !job->accumulate) {             \
        grouped_some(W, 8, 0, job, columns - 8);                         \
        return;                                                          \
      }                                                                  \
    }                                                                    \
    for (; x < columns; ++x) grouped_some(W, 1, 0, job, x);              \
  }

GROUPED_ROW(4)
GROUPED_ROW(8)
GROUPED_ROW(16)

/* Whether the taps come in threes whose offsets are neighbouring pixels. */
static int grouped_in_threes(const depthwise_taps *taps, int64_t step) {
  if (taps->count % 3 != 0) return 0;
  for (int64_t t = 0; t < taps->count; t += 3)
    if (taps->offset[t + 1] - taps->offset[t] != step ||
        taps->offset[t + 2] - taps->offset[t] != 2 * step)
      return 0;
  return 1;
}

/* One row of `columns` pixels for a block's channels. */
static void grouped_row(int64_t w, const depthwise_taps *taps, int threes, const float *weights,
                        int64_t lanes, const float *bias, const float *in, int64_t in_step,
                        float *out, int64_t out_step, int64_t columns, int64_t channels,
                        int accumulate) {
  for (int64_t c = 0; c < channels; c += LANES) {
    vf start = bias != NULL ? load(bias + c) : splat(0);
    grouped_job job = {taps,    threes, weights + c, lanes,    start,     in + c,
                       in_step, c % w,  out + c,     out_step, accumulate};
    (w == 4 ? grouped_row_4 : w == 8 ? grouped_row_8 : grouped_row_16)(&job, columns);
  }
}

/* Floats of one tap's weights. */
static int64_t grouped_tap_size(const gk_convolution *s) {
  return s->channels / s->groups * s->channels;
}

static void grouped_forward_tile(void *context, int64_t tile, int worker) {
  const gk_depthwise_job *job = context;
  const gk_convolution *s = job->shape;
  int64_t image = tile / job->bands, first = tile % job->bands * job->band;
  int64_t rows = gk_min(job->band, s->out_height - first), out_row = s->out_width * s->filters;
  float *scratch = job->scratch + worker * job->scratch_stride;
  float *out = job->out + (image * s->out_height + first) * out_row;
  for (int64_t c = 0; c < s->channels; c += GK_DEPTHWISE_BLOCK) {
    depthwise_block block = depthwise_block_at(s, c);
    int64_t row = gk_depthwise_in_width(s) * block.lanes, step = s->stride_width * block.lanes;
    depthwise_taps taps;
    depthwise_forward_taps(s, block, grouped_tap_size(s), &taps);
    int threes = grouped_in_threes(&taps, step);
    depthwise_copy_rows(scratch, s, &job->in, image, first * s->stride_height - s->padding_height,
                        gk_in_rows(s, rows), block);
    for (int64_t y = 0; y < rows; ++y)
      grouped_row(s->channels / s->groups, &taps, threes, job->packed, s->channels,
                  job->bias != NULL ? job->bias + c : NULL, scratch + y * s->stride_height * row,
                  step, out + y * out_row + c, s->filters, s->out_width, block.live, 0);
  }
  if (job->statistics != NULL) {
    float *statistics = job->statistics + tile * 2 * s->filters;
    moments(out, rows * s->out_width, s->filters, s->filters, statistics, statistics + s->filters);
  }
}

/* ---- backward ---- */

/* Channels of a group whose sums stay in registers at once, three taps each. */
#define GROUPED_SUMS (LANES == 16 ? 8 : 4)

/* Adds a band's share of the gradients of three taps side by side, for one vector of filters and
 * channels j to j + GROUPED_SUMS - 1 of their groups. */
INLINE void grouped_weights_threes(const int w, const int first, const float *x, int64_t x_row,
                                   int64_t x_step, int64_t back, const float *d, int64_t d_row,
                                   int64_t d_step, int64_t rows, int64_t columns, float *to,
                                   int64_t tap, int64_t lanes) {
  const int many = w < GROUPED_SUMS ? w : GROUPED_SUMS;
  vf sums[3][GROUPED_SUMS];
  UNROLL for (int k = 0; k < 3; ++k) UNROLL for (int j = 0; j < many; ++j) sums[k][j] = splat(0);
  for (int64_t r = 0; r < rows; ++r) {
    const float *xs = x + r * x_row, *ds = d + r * d_row;
    vf before = splat(0), last = splat(0);
    for (int64_t p = 0; p < columns; ++p, xs += x_step, ds += d_step) {
      vf here = load(ds);
      UNROLL for (int j = 0; j < many; ++j) {
        vf value = spread(w, xs, back, first + j);
        sums[0][j] += value * here;
        sums[1][j] += value * last;
        sums[2][j] += value * before;
      }
      before = last, last = here;
    }
    UNROLL for (int j = 0; j < many; ++j) {
      vf value = spread(w, xs, back, first + j);
      sums[1][j] += value * last;
      sums[2][j] += value * before;
      sums[2][j] += spread(w, xs + x_step, back, first + j) * last;
    }
  }
  UNROLL for (int k = 0; k < 3; ++k) UNROLL for (int j = 0; j < many; ++j) {
    float *at = to + k * tap + (first + j) * lanes;
    store(at, load(at) + sums[k][j]);
  }
}

/* The same for one tap, any stride. */
INLINE void grouped_weights_any(const int w, const int first, const float *x, int64_t x_row,
                                int64_t x_step, int64_t back, const float *d, int64_t d_row,
                                int64_t d_step, int64_t rows, int64_t columns, float *to,
                                int64_t lanes) {
  const int many = w < GROUPED_SUMS ? w : GROUPED_SUMS;
  vf sums[GROUPED_SUMS];
  UNROLL for (int j = 0; j < many; ++j) sums[j] = splat(0);
  for (int64_t r = 0; r < rows; ++r) {
    const float *xs = x + r * x_row, *ds = d + r * d_row;
    for (int64_t p = 0; p < columns; ++p, xs += x_step, ds += d_step) {
      vf here = load(ds);
      UNROLL for (int j = 0; j < many; ++j) sums[j] += spread(w, xs, back, first + j) * here;
    }
  }
  UNROLL for (int j = 0; j < many; ++j) {
    float *at = to + (first + j) * lanes;
    store(at, load(at) + sums[j]);
  }
}

#define GROUPED_WEIGHTS(W)                                                                     \
  static void grouped_weights_##W(const depthwise_taps *taps, const float *x, int64_t x_row,   \
                                  int64_t x_step, int64_t back, const float *d, int64_t d_row, \
                                  int64_t d_step, int64_t rows, int64_t columns, float *to,    \
                                  int64_t lanes, int threes) {                                 \
    for (int64_t t = 0; t < taps->count; t += threes ? 3 : 1) {                                \
      const float *from = x + taps->offset[t];                                                 \
      float *at = to + taps->weight[t];                                                        \
      UNROLL for (int first = 0; first < W; first += GROUPED_SUMS) {                           \
        if (threes)                                                                            \
          grouped_weights_threes(W, first, from, x_row, x_step, back, d, d_row, d_step, rows,  \
                                 columns, at, W *lanes, lanes);                                \
        else                                                                                   \
          grouped_weights_any(W, first, from, x_row, x_step, back, d, d_row, d_step, rows,     \
                              columns, at, lanes);                                             \
      }                                                                                        \
    }                                                                                          \
  }

GROUPED_WEIGHTS(4)
GROUPED_WEIGHTS(8)
GROUPED_WEIGHTS(16)

/* The input's gradient for the rows that belong to output rows `first` on, as depthwise_input. */
static void grouped_input(const gk_depthwise_job *job, int64_t image, int64_t first, int64_t rows,
                          const float *d, depthwise_block block) {
  const gk_convolution *s = job->shape;
  int64_t lanes = block.lanes, row = (job->halo.left + s->out_width + job->halo.right) * lanes;
  int64_t w = s->channels / s->groups;
  float *out = job->input_gradient + image * s->height * s->width * s->channels + block.first;
  for (int64_t py = 0; py < s->stride_height; ++py) {
    for (int64_t px = 0; px < s->stride_width; ++px) {
      depthwise_taps taps;
      depthwise_backward_taps(job, py, px, block, grouped_tap_size(s), &taps);
      int threes = grouped_in_threes(&taps, lanes);
      int64_t columns = gk_depthwise_phase_rows(s->width, px, s->stride_width);
      int64_t end = gk_min(first + rows, gk_depthwise_phase_rows(s->height, py, s->stride_height));
      for (int64_t y = first; y < end; ++y)
        grouped_row(w, &taps, threes, job->packed, s->channels, NULL, d + (y - first) * row, lanes,
                    out + ((py + y * s->stride_height) * s->width + px) * s->channels,
                    s->stride_width * s->channels, columns, block.live, job->accumulate);
    }
  }
}

/* All of a chunk's images, for one block of channels, as depthwise_backward_block. */
static void grouped_backward_block(const gk_depthwise_job *job, int64_t chunk,
                                   depthwise_block block, float *d, float *partial) {
  const gk_convolution *s = job->shape;
  int64_t lanes = block.lanes, band = job->band, w = s->channels / s->groups;
  int64_t row = (job->halo.left + s->out_width + job->halo.right) * lanes;
  int64_t x_row = gk_depthwise_in_width(s) * lanes * s->stride_height;
  int64_t x_step = s->stride_width * lanes;
  float *x = d + (job->halo.low + band + job->halo.high) * row;
  depthwise_taps taps;
  depthwise_forward_taps(s, block, grouped_tap_size(s), &taps);
  int threes = grouped_in_threes(&taps, x_step);
  /* Input rows past those of the output (a stride that does not divide the height). */
  int64_t all = gk_max(s->out_height, gk_ceil_div(s->height, s->stride_height));
  int64_t end = gk_min(s->n, (chunk + 1) * job->chunk_images);
  for (int64_t image = chunk * job->chunk_images; image < end; ++image) {
    for (int64_t y = 0; y < all; y += band) {
      int64_t rows = gk_min(band, all - y), live = gk_min(rows, s->out_height - y);
      depthwise_copy_gradient(d, job, image, y - job->halo.low,
                              job->halo.low + rows + job->halo.high, block);
      if (job->input_gradient != NULL) grouped_input(job, image, y, rows, d, block);
      if (live <= 0) continue;
      const float *inside = d + job->halo.low * row + job->halo.left * lanes;
      depthwise_copy_rows(x, s, &job->in, image, y * s->stride_height - s->padding_height,
                          gk_in_rows(s, live), block);
      for (int64_t c = 0; c < block.live; c += LANES) {
        (w == 4   ? grouped_weights_4
         : w == 8 ? grouped_weights_8
                  : grouped_weights_16)(&taps, x + c, x_row, x_step, c % w, inside + c, row, lanes,
                                        live, s->out_width, partial + c, s->channels, threes);
      }
      if (!job->want_bias) continue;
      float *bias = partial + taps.count * w * s->channels + block.first;
      for (int64_t r = 0; r < live; ++r)
        for (int64_t p = 0; p < s->out_width; ++p)
          for (int64_t c = 0; c < lanes; ++c) bias[c] += inside[r * row + p * lanes + c];
    }
  }
}

static void grouped_backward_tile(void *context, int64_t chunk, int worker) {
  const gk_depthwise_job *job = context;
  float *partial = job->partial + chunk * job->partial_stride;
  zero(partial, job->partial_stride);
  for (int64_t c = 0; c < job->shape->channels; c += GK_DEPTHWISE_BLOCK)
    grouped_backward_block(job, chunk, depthwise_block_at(job->shape, c),
                           job->scratch + worker * job->scratch_stride, partial);
}
