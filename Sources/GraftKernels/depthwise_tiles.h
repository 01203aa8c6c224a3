/* The depthwise convolution's loops for vectors of LANES floats. Included by tiles_*.c after
 * convolution_tiles.h.
 *
 * A row of pixels is taken one vector of channels after the other: its T weight vectors stay in
 * registers while the pixels go by. */

/* A block of channels: the first, how many there are, and the lanes that they take in scratch. */
typedef struct depthwise_block {
  int64_t first, live, lanes;
} depthwise_block;

static depthwise_block depthwise_block_at(const gk_convolution *s, int64_t first) {
  return (depthwise_block){first, gk_min(GK_DEPTHWISE_BLOCK, s->channels - first),
                           gk_min(GK_DEPTHWISE_BLOCK, gk_lanes(s) - first)};
}

static void zero(float *to, int64_t count) {
  if (count > 0) memset(to, 0, (size_t)count * sizeof(float));
}

/* Sets the lanes that no channel has to zero. */
static void zero_lanes(float *to, int64_t pixels, depthwise_block block) {
  for (int64_t p = 0; block.live < block.lanes && p < pixels; ++p)
    zero(to + p * block.lanes + block.live, block.lanes - block.live);
}

/* Rows of a block of an image's input, padded with zeros. */
static void depthwise_copy_rows(float *to, const gk_convolution *s, const gk_view *view,
                                int64_t image, int64_t first, int64_t rows, depthwise_block block) {
  int64_t lanes = block.lanes, width = gk_depthwise_in_width(s), row = width * lanes;
  int64_t left = gk_min(s->padding_width, width);
  int64_t inside = gk_max(0, gk_min(s->width, width - left));
  for (int64_t r = 0; r < rows; ++r, to += row) {
    int64_t y = first + r;
    if (y < 0 || y >= s->height) {
      zero(to, row);
      continue;
    }
    int64_t from = (image * s->height + y) * s->width * s->channels + block.first;
    zero(to, left * lanes);
    read_view(to + left * lanes, lanes, view, from, s->channels, inside, block.live, block.first);
    zero_lanes(to + left * lanes, inside, block);
    zero(to + (left + inside) * lanes, (width - left - inside) * lanes);
  }
}

/* Rows of a block of an image's output gradient with its halo. */
static void depthwise_copy_gradient(float *to, const gk_depthwise_job *job, int64_t image,
                                    int64_t first, int64_t rows, depthwise_block block) {
  const gk_convolution *s = job->shape;
  int64_t lanes = block.lanes, row = (job->halo.left + s->out_width + job->halo.right) * lanes;
  for (int64_t r = 0; r < rows; ++r, to += row) {
    int64_t y = first + r;
    if (y < 0 || y >= s->out_height) {
      zero(to, row);
      continue;
    }
    int64_t at = (image * s->out_height + y) * s->out_width * s->channels + block.first;
    zero(to, job->halo.left * lanes);
    float *inside = to + job->halo.left * lanes;
    read_gradient(inside, lanes, &job->gradient, at, s->channels, s->out_width, block.live,
                  block.first);
    zero_lanes(inside, s->out_width, block);
    zero(inside + s->out_width * lanes, job->halo.right * lanes);
  }
}

/* Taps of a row: where each reads, from a pixel's base, and its weights. */
typedef struct depthwise_taps {
  int64_t count;
  int64_t offset[GK_MAX_RUNS];
  int64_t weight[GK_MAX_RUNS];
} depthwise_taps;

#define DEPTHWISE_ROW(T)                                                                        \
  static void depthwise_row_##T(const depthwise_taps *taps, const float *weights, vf start,     \
                                const float *in, int64_t in_step, float *out, int64_t out_step, \
                                int64_t columns, int accumulate, int past, const float *ahead,  \
                                int64_t ahead_step) {                                           \
    vf w[T];                                                                                    \
    const float *from[T];                                                                       \
    UNROLL for (int t = 0; t < T; ++t) w[t] = load(weights + taps->weight[t]);                  \
    UNROLL for (int t = 0; t < T; ++t) from[t] = in + taps->offset[t];                          \
    for (int64_t x = 0; x < columns; ++x) {                                                     \
      vf sum = accumulate ? load(out + x * out_step) : start;                                   \
      ask_for(ahead + x * ahead_step);                                                          \
      UNROLL for (int t = 0; t < T; ++t) sum += load(from[t] + x * in_step) * w[t];             \
      if (past)                                                                                 \
        store_past(out + x * out_step, sum);                                                    \
      else                                                                                      \
        store(out + x * out_step, sum);                                                         \
    }                                                                                           \
  }

DEPTHWISE_ROW(1)
DEPTHWISE_ROW(2)
DEPTHWISE_ROW(4)
DEPTHWISE_ROW(9)

static void depthwise_row_any(const depthwise_taps *taps, const float *weights, vf start,
                              const float *in, int64_t in_step, float *out, int64_t out_step,
                              int64_t columns, int accumulate, int past, const float *ahead,
                              int64_t ahead_step) {
  (void)past, (void)ahead, (void)ahead_step;
  for (int64_t x = 0; x < columns; ++x) {
    vf sum = accumulate ? load(out + x * out_step) : start;
    for (int64_t t = 0; t < taps->count; ++t)
      sum += load(in + taps->offset[t] + x * in_step) * load(weights + taps->weight[t]);
    store(out + x * out_step, sum);
  }
}

/* One row of `columns` pixels for all channels. `ahead` is the row to ask for. The last, incomplete
 * vector of an output that has no lanes to spare goes through a copy, a pixel at a time. */
static void depthwise_row(const depthwise_taps *taps, const float *weights, const float *bias,
                          const float *in, int64_t in_step, float *out, int64_t out_step,
                          int64_t columns, int64_t channels, int accumulate, int past,
                          const float *ahead, int64_t ahead_step) {
  for (int64_t c = 0; c < channels; c += LANES) {
    int64_t live = gk_min(LANES, channels - c);
    float lanes[LANES];
    for (int64_t i = 0; i < LANES; ++i) lanes[i] = bias != NULL && i < live ? bias[c + i] : 0;
    vf start = load(lanes);
    const float *w = weights + c, *from = in + c;
    if (live == LANES) {
      switch (taps->count) {
#define ROW(T)                                                                                   \
  depthwise_row_##T(taps, w, start, from, in_step, out + c, out_step, columns, accumulate, past, \
                    ahead + c, ahead_step);                                                      \
  break;
        case 1:
          ROW(1)
        case 2:
          ROW(2)
        case 4:
          ROW(4)
        case 9:
          ROW(9)
        default:
          ROW(any)
#undef ROW
      }
      continue;
    }
    for (int64_t x = 0; x < columns; ++x) {
      float copy[LANES] = {0};
      float *to = out + x * out_step + c;
      memcpy(copy, accumulate ? to : lanes, (size_t)live * sizeof(float));
      depthwise_row_any(taps, w, start, from + x * in_step, in_step, copy, 0, 1, 1, 0, ahead, 0);
      memcpy(to, copy, (size_t)live * sizeof(float));
    }
  }
}

/* Taps of output pixels; `size` floats of weights belong to a tap. */
static void depthwise_forward_taps(const gk_convolution *s, depthwise_block block, int64_t size,
                                   depthwise_taps *taps) {
  int64_t lanes = block.lanes, row = gk_depthwise_in_width(s) * lanes;
  taps->count = 0;
  for (int64_t ky = 0; ky < s->kernel_height; ++ky)
    for (int64_t kx = 0; kx < s->kernel_width; ++kx) {
      taps->offset[taps->count] = ky * s->dilation_height * row + kx * s->dilation_width * lanes;
      taps->weight[taps->count++] = (ky * s->kernel_width + kx) * size + block.first;
    }
}

/* While one band is computed, the caches are asked for the rows of the next, which is the next
 * image's first after an image's last: a line for every vector, so that memory and arithmetic go on
 * side by side. */

/* The last row of the input that a row of output reads. */
static int64_t depthwise_last(const gk_convolution *s, int64_t row) {
  return row * s->stride_height + (s->kernel_height - 1) * s->dilation_height - s->padding_height;
}

/* Where row `row` of all images' begins, which have `height` each; 0 where there are not `rows` of
 * them. */
static int64_t depthwise_next(const gk_convolution *s, int64_t row, int64_t rows, int64_t height,
                              int64_t width) {
  return row >= 0 && row + rows <= s->n * height ? row * width * s->channels : 0;
}

/* A band of an image's rows of output. */
static void depthwise_forward_band(const gk_depthwise_job *job, int64_t tile, float *scratch) {
  const gk_convolution *s = job->shape;
  int64_t image = tile / job->bands, first = tile % job->bands * job->band;
  int64_t rows = gk_min(job->band, s->out_height - first), pixels = rows * s->out_width;
  float *out = job->out + (image * s->out_height + first) * s->out_width * s->filters;
  float *waiting = scratch + job->scratch_stride - gk_depthwise_waiting(s);
  gk_half *halves =
      (gk_half *)job->out + (image * s->out_height + first) * s->out_width * s->filters;
  int past = LANES == 16 && !s->halves &&
             gk_goes_past(job->out, s->n * s->out_height * s->out_width * s->filters, s->filters);
  int waits = past || s->halves;
  for (int64_t c = 0; c < s->channels; c += GK_DEPTHWISE_BLOCK) {
    depthwise_block block = depthwise_block_at(s, c);
    int64_t row = gk_depthwise_in_width(s) * block.lanes;
    depthwise_taps taps;
    depthwise_forward_taps(s, block, gk_lanes(s), &taps);
    depthwise_copy_rows(scratch, s, &job->in, image, first * s->stride_height - s->padding_height,
                        gk_in_rows(s, rows), block);
    float *to = waits ? waiting : out + c;
    int64_t step = waits ? block.lanes : s->filters;
    for (int64_t y = 0; y < rows; ++y) {
      int64_t next = image * s->height + depthwise_last(s, first + y + job->band);
      depthwise_row(
          &taps, job->packed, job->bias != NULL ? job->bias + c : NULL,
          scratch + y * s->stride_height * row, s->stride_width * block.lanes,
          to + y * s->out_width * step, step, s->out_width, block.live, 0, 0,
          job->in.x + view_floats(&job->in, depthwise_next(s, next, 1, s->height, s->width) + c),
          view_floats(&job->in, s->stride_width * s->channels));
    }
    if (job->statistics != NULL) {
      float *statistics = job->statistics + tile * 2 * s->filters + c;
      moments(to, pixels, block.live, step, statistics, statistics + s->filters);
    }
    for (int64_t p = 0; s->halves && p < pixels; ++p)
      halve(halves + p * s->filters + c, waiting + p * step, block.live);
    for (int64_t p = 0; past && p < pixels; ++p)
      for (int64_t i = 0; i < step; i += LANES)
        store_past(out + p * s->filters + c + i, load(waiting + p * step + i));
  }
}

static void depthwise_forward_tile(void *context, int64_t tile, int worker) {
  const gk_depthwise_job *job = context;
  float *scratch = job->scratch + worker * job->scratch_stride;
  for (int64_t i = 0; i < job->together; ++i)
    depthwise_forward_band(job, tile * job->together + i, scratch);
}

/* ---- backward ---- */

#define DEPTHWISE_WEIGHTS 9

/* The output gradient, and the values that it is read with, of the next band. */
typedef struct depthwise_ahead {
  const float *g, *y;
  int halves; /* y is bfloat16 */
  int64_t row, step;
} depthwise_ahead;

/* Adds a band's share of DEPTHWISE_WEIGHTS or fewer taps' gradients, for a block's lanes. */
static void depthwise_weights(const depthwise_taps *taps, int64_t first, const float *x,
                              int64_t x_row, int64_t x_step, const float *d, int64_t d_row,
                              int64_t lanes, int64_t rows, int64_t columns, float *partial,
                              const depthwise_ahead *ahead) {
  int64_t many = gk_min(DEPTHWISE_WEIGHTS, taps->count - first);
  for (int64_t c = 0; c < lanes; c += LANES) {
    vf sums[DEPTHWISE_WEIGHTS];
    for (int t = 0; t < DEPTHWISE_WEIGHTS; ++t) sums[t] = splat(0);
    for (int64_t r = 0; r < rows; ++r) {
      const float *ds = d + r * d_row + c, *xs = x + r * x_row + c;
      if (many == DEPTHWISE_WEIGHTS) {
        const float *from[DEPTHWISE_WEIGHTS];
        UNROLL for (int t = 0; t < DEPTHWISE_WEIGHTS; ++t) from[t] = xs + taps->offset[first + t];
        for (int64_t p = 0; p < columns; ++p) {
          vf g = load(ds + p * lanes);
          int64_t at = r * ahead->row + p * ahead->step + c;
          ask_for(ahead->g + at);
          ask_for(ahead->y + (at >> ahead->halves));
          UNROLL for (int t = 0; t < DEPTHWISE_WEIGHTS; ++t) sums[t] +=
              load(from[t] + p * x_step) * g;
        }
      } else {
        for (int64_t p = 0; p < columns; ++p) {
          vf g = load(ds + p * lanes);
          for (int64_t t = 0; t < many; ++t)
            sums[t] += load(xs + taps->offset[first + t] + p * x_step) * g;
        }
      }
    }
    for (int64_t t = 0; t < many; ++t) {
      float *to = partial + taps->weight[first + t] + c;
      store(to, load(to) + sums[t]);
    }
  }
}

/* Taps of the input pixels of one phase (convolution_plan.h), over rows of the copied gradient. */
static void depthwise_backward_taps(const gk_depthwise_job *job, int64_t py, int64_t px,
                                    depthwise_block block, int64_t size, depthwise_taps *taps) {
  const gk_convolution *s = job->shape;
  int64_t lanes = block.lanes, row = (job->halo.left + s->out_width + job->halo.right) * lanes;
  gk_axis_taps ty, tx;
  gk_phase_taps(s->kernel_height, s->stride_height, s->padding_height, s->dilation_height, py, &ty);
  gk_phase_taps(s->kernel_width, s->stride_width, s->padding_width, s->dilation_width, px, &tx);
  taps->count = 0;
  for (int64_t i = 0; i < ty.count; ++i)
    for (int64_t j = 0; j < tx.count; ++j) {
      taps->offset[taps->count] =
          (ty.offset[i] + job->halo.low) * row + (tx.offset[j] + job->halo.left) * lanes;
      taps->weight[taps->count++] = (ty.tap[i] * s->kernel_width + tx.tap[j]) * size + block.first;
    }
}

/* The input's gradient for the rows that belong to output rows `first` on. `d` is the first of the
 * copied gradient's rows, `first` - halo.low. What is summed and is to be written past the caches
 * waits for that in `waiting`. */
static void depthwise_input(const gk_depthwise_job *job, int64_t image, int64_t first, int64_t rows,
                            const float *d, depthwise_block block, float *waiting, float *sums) {
  const gk_convolution *s = job->shape;
  int64_t lanes = block.lanes, row = (job->halo.left + s->out_width + job->halo.right) * lanes;
  int64_t low = first * s->stride_height, high = gk_min(s->height, low + rows * s->stride_height);
  int64_t at = (image * s->height + low) * s->width, pixels = gk_max(0, high - low) * s->width;
  float *place = job->input_gradient + at * s->channels + block.first, *out = place;
  int past =
      LANES == 16 && !job->accumulate &&
      gk_goes_past(job->input_gradient, s->n * s->height * s->width * s->channels, s->channels);
  int waits = past && sums != NULL;
  int64_t step = s->channels;
  int64_t next = image * s->height + depthwise_last(s, first + job->band) - s->stride_height + 1;
  next = depthwise_next(s, next, high - low, s->height, s->width) + block.first;
  if (waits) out = waiting, step = lanes;
  for (int64_t py = 0; py < s->stride_height; ++py) {
    for (int64_t px = 0; px < s->stride_width; ++px) {
      depthwise_taps taps;
      depthwise_backward_taps(job, py, px, block, gk_lanes(s), &taps);
      int64_t columns = gk_depthwise_phase_rows(s->width, px, s->stride_width);
      int64_t end = gk_min(first + rows, gk_depthwise_phase_rows(s->height, py, s->stride_height));
      for (int64_t y = first; y < end; ++y)
        depthwise_row(
            &taps, job->packed, NULL, d + (y - first) * row, lanes,
            out + ((py + (y - first) * s->stride_height) * s->width + px) * step,
            s->stride_width * step, columns, block.live, job->accumulate, past && !waits,
            job->in.x + view_floats(&job->in,
                                    next + ((py + (y - first) * s->stride_height) * s->width + px) *
                                               s->channels),
            view_floats(&job->in, s->stride_width * s->channels));
    }
  }
  if (sums == NULL) return;
  summed from = {out,           at * s->channels + block.first, step, s->channels, pixels, &job->in,
                 job->sums.mean};
  gradient_sums(&from, block.live, block.first, 1, sums + block.first,
                sums + s->channels + block.first);
  for (int64_t p = 0; waits && p < pixels; ++p)
    for (int64_t i = 0; i < lanes; i += LANES)
      store_past(place + p * s->channels + i, load(out + p * lanes + i));
}

/* A band of an image, for one block of channels. */
static void depthwise_backward_band(const gk_depthwise_job *job, int64_t image, int64_t y,
                                    int64_t rows, depthwise_block block, float *d, float *partial,
                                    float *sums) {
  const gk_convolution *s = job->shape;
  int64_t lanes = block.lanes, live = gk_min(rows, s->out_height - y);
  int64_t row = (job->halo.left + s->out_width + job->halo.right) * lanes;
  int64_t x_row = gk_depthwise_in_width(s) * lanes * s->stride_height;
  float *x = d + (job->halo.low + job->band + job->halo.high) * row;
  float *waiting = d + job->scratch_stride - gk_depthwise_input_waiting(s);
  depthwise_copy_gradient(d, job, image, y - job->halo.low, job->halo.low + rows + job->halo.high,
                          block);
  if (job->input_gradient != NULL) depthwise_input(job, image, y, rows, d, block, waiting, sums);
  if (live <= 0) return;
  const float *inside = d + job->halo.low * row + job->halo.left * lanes;
  depthwise_copy_rows(x, s, &job->in, image, y * s->stride_height - s->padding_height,
                      gk_in_rows(s, live), block);
  depthwise_taps taps;
  depthwise_forward_taps(s, block, gk_lanes(s), &taps);
  const gk_view *value = &job->gradient.value;
  int halves = value->x != NULL && value->halves;
  int64_t next = depthwise_next(s, image * s->out_height + y + job->band + job->halo.high, live,
                                s->out_height, s->out_width);
  next += block.first;
  depthwise_ahead ahead = {job->gradient.g + next,
                           value->x != NULL ? value->x + (next >> halves) : job->gradient.g + next,
                           halves, s->out_width * s->channels, s->channels};
  for (int64_t t = 0; t < taps.count; t += DEPTHWISE_WEIGHTS)
    depthwise_weights(&taps, t, x, x_row, s->stride_width * lanes, inside, row, lanes, live,
                      s->out_width, partial, &ahead);
  if (!job->want_bias) return;
  float *bias = partial + taps.count * gk_lanes(s) + block.first;
  for (int64_t r = 0; r < live; ++r)
    for (int64_t p = 0; p < s->out_width; ++p)
      for (int64_t c = 0; c < lanes; ++c) bias[c] += inside[r * row + p * lanes + c];
}

static void depthwise_backward_tile(void *context, int64_t chunk, int worker) {
  const gk_depthwise_job *job = context;
  const gk_convolution *s = job->shape;
  float *partial = job->partial + chunk * job->partial_stride, *sums = job->sums.sums;
  if (sums != NULL) sums += chunk * 2 * s->channels;
  zero(partial, job->partial_stride);
  if (sums != NULL) zero(sums, 2 * s->channels);
  /* Input rows past those of the output (a stride that does not divide the height). */
  int64_t all = gk_max(s->out_height, gk_ceil_div(s->height, s->stride_height));
  int64_t end = gk_min(s->n, (chunk + 1) * job->chunk_images);
  for (int64_t image = chunk * job->chunk_images; image < end; ++image)
    for (int64_t y = 0; y < all; y += job->band)
      for (int64_t c = 0; c < s->channels; c += GK_DEPTHWISE_BLOCK)
        depthwise_backward_band(job, image, y, gk_min(job->band, all - y), depthwise_block_at(s, c),
                                job->scratch + worker * job->scratch_stride, partial, sums);
}
