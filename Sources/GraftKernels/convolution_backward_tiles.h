/* The convolution's backward loops, for vectors of LANES floats. Included by tiles_*.c after
 * convolution_tiles.h, weight_tiles.h and winograd_backward_tiles.h. */

#if LANES == 16
/* The same trick for the weights: a kernel three wide, eight channels, one vector of filters. An
 * input that has been broadcast meets the gradients of three pixels, which stay in registers. */
INLINE void weights_row_of(const int paired, const float *x, int64_t x_row, const float *d,
                           int64_t d_row, int64_t d_step, int64_t channels, int64_t rows,
                           int64_t columns, float *to, int64_t width) {
  vf sums[3][8];
  UNROLL for (int k = 0; k < 3; ++k) UNROLL for (int c = 0; c < 8; ++c) sums[k][c] = splat(0);
  for (int64_t r = 0; r < rows; ++r) {
    const float *xs = x + r * x_row, *ds = d + r * d_row;
    vf before = splat(0), last = splat(0);
    for (int64_t p = 0; p < columns; ++p, xs += channels, ds += d_step) {
      vf here = load(ds);
      UNROLL for (int c = 0; c < 8; ++c) {
        vf value = broadcast(paired, xs + c);
        sums[0][c] = add(paired, sums[0][c], value, here);
        sums[1][c] = add(paired, sums[1][c], value, last);
        sums[2][c] = add(paired, sums[2][c], value, before);
      }
      before = last, last = here;
    }
    UNROLL for (int c = 0; c < 8; ++c) {
      vf value = broadcast(paired, xs + c);
      sums[1][c] = add(paired, sums[1][c], value, last);
      sums[2][c] = add(paired, sums[2][c], value, before);
      sums[2][c] = add(paired, sums[2][c], broadcast(paired, xs + channels + c), last);
    }
  }
  UNROLL for (int k = 0; k < 3; ++k) UNROLL for (int c = 0; c < 8; ++c) {
    float *at = to + (k * channels + c) * width;
    store(at, load(at) + sums[k][c]);
  }
}

#define WEIGHTS_ROW(NAME, PAIRED)                                                                \
  static void NAME(const float *x, int64_t x_row, const float *d, int64_t d_row, int64_t d_step, \
                   int64_t channels, int64_t rows, int64_t columns, float *to, int64_t width) {  \
    weights_row_of(PAIRED, x, x_row, d, d_row, d_step, channels, rows, columns, to, width);      \
  }
WEIGHTS_ROW(weights_row, 0)
WEIGHTS_ROW(weights_row_paired, 1)
#undef WEIGHTS_ROW
#endif

/* Adds a band's share of the weights' gradient of one group. x: copied rows; d: the gradient, both
 * of the images that p tells. */
static void weight_band(const gk_convolution *s, const gk_runs *runs, const weight_pixels *p,
                        const float *x, const float *d, float *partial) {
  int64_t channels = gk_weight_channels(s), padded = gk_padded(s->filters / s->groups);
  int64_t length = runs->length;
  int paired = gk_is_paired(s);
  for (int64_t lane = 0; lane < padded; lane += GK_PANEL) {
    int64_t width = gk_panel_width(lane, padded), block = gk_min(width, SUBPANEL);
    float *panel = partial + lane * runs->count * length;
    for (int64_t sub = 0; sub < width; sub += block) {
      const float *ds = d + lane + sub;
      for (int64_t run = 0; run < runs->count; ++run) {
        const float *xs = x + runs->offset[run];
        float *to = panel + run * length * width + sub;
        int64_t j = 0;
#define WEIGHTS(V, J)             \
  for (; j + J <= length; j += J) \
    (paired ? weights_##V##_##J##_1 : weights_##V##_##J##_0)(p, xs + j, ds, to + j * width, width);
#if LANES == 16
        if (block == 32) {
          WEIGHTS(2, 12) WEIGHTS(2, 4) WEIGHTS(2, 1)
        } else if (length == 3 * channels && p->x_step == channels && channels % 8 == 0) {
          for (int64_t i = 0; i < p->images; ++i)
            for (int64_t c = 0; c < channels; c += 8)
              (paired ? weights_row_paired : weights_row)(
                  xs + i * p->x_image + c, p->x_row, ds + i * p->d_image, p->d_row, p->d_step,
                  channels, p->rows, p->columns, to + c * width, width);
        } else {
          WEIGHTS(1, 24) WEIGHTS(1, 8) WEIGHTS(1, 1)
        }
#else
        WEIGHTS(2, 4) WEIGHTS(2, 1)
#endif
#undef WEIGHTS
      }
    }
  }
}

/* Copies rows first to first + rows - 1 of an image's output gradient, with the halo's zeros; as
 * copy_rows where the shape is paired. */
static void copy_gradient(float *to, float *line, const gk_backward_job *job, int64_t image,
                          int64_t group, int64_t first, int64_t rows) {
  const gk_convolution *s = job->shape;
  int64_t filters = s->filters / s->groups, width = s->out_width, units = gk_out_units(s);
  int64_t row = (job->halo_left + width + job->halo_right) * units;
  int paired = gk_is_paired(s);
  for (int64_t r = 0; r < rows; ++r, to += row) {
    int64_t y = first + r;
    if (y < 0 || y >= s->out_height) {
      memset(to, 0, (size_t)row * sizeof(float));
      continue;
    }
    int64_t at = ((image * s->out_height + y) * width) * s->filters + group * filters;
    memset(to, 0, (size_t)(job->halo_left * units) * sizeof(float));
    read_gradient(paired ? line : to + job->halo_left * units, filters, &job->gradient, at,
                  s->filters, width, filters, group * filters);
    if (paired) round_pixels(to + job->halo_left * units, line, width, filters);
    memset(to + (job->halo_left + width) * units, 0,
           (size_t)(job->halo_right * units) * sizeof(float));
  }
}

/* The gradient of one image's group with respect to its input. `rows` holds the output gradient
 * from row `origin` on where the image fits as a whole; else bands are copied there as they are
 * needed. */
static void input_gradient(const gk_backward_job *job, int64_t image, int64_t group, float *rows,
                           float *line, float *squares) {
  const gk_convolution *s = job->shape;
  int64_t channels = s->channels / s->groups, filters = gk_out_units(s);
  int64_t row = (job->halo_left + s->out_width + job->halo_right) * filters;
  int64_t panel = gk_padded(channels), out_row = s->width * s->channels;
  const float *weights = job->packed + group * panel * filters * s->kernel_height * s->kernel_width;
  float *out = job->input_gradient + image * s->height * out_row + group * channels;
  int past = LANES == 16 && !job->accumulate && s->groups == 1 &&
             gk_goes_past(job->input_gradient, s->n * s->height * out_row, channels);
  for (int64_t py = 0; py < s->stride_height; ++py) {
    gk_axis_taps ty;
    gk_phase_taps(s->kernel_height, s->stride_height, s->padding_height, s->dilation_height, py,
                  &ty);
    for (int64_t px = 0; px < s->stride_width; ++px) {
      gk_axis_taps tx;
      gk_phase_taps(s->kernel_width, s->stride_width, s->padding_width, s->dilation_width, px, &tx);
      int merged = tx.count > 0 && tx.offset[tx.count - 1] - tx.offset[0] == tx.count - 1;
      gk_runs runs = {0, merged ? tx.count * filters : filters, {0}};
      int64_t low = ty.count ? ty.offset[0] : 0, high = ty.count ? ty.offset[ty.count - 1] : 0;
      for (int64_t i = 0; i < ty.count; ++i)
        for (int64_t j = 0; j < (merged ? 1 : tx.count); ++j)
          runs.offset[runs.count++] = (ty.offset[i] - low) * row + tx.offset[j] * filters;
      int64_t height = py < s->height ? gk_ceil_div(s->height - py, s->stride_height) : 0;
      int64_t columns = px < s->width ? gk_ceil_div(s->width - px, s->stride_width) : 0;
      if (runs.count == 0) runs.length = 0;
      if (columns == 0) height = 0;
      int64_t band = job->whole ? height : gk_band(s);
      for (int64_t y = 0; y < height; y += band) {
        int64_t many = gk_min(band, height - y);
        const float *in = rows;
        if (job->whole) {
          in += (job->halo_top + y + low) * row;
        } else if (runs.count > 0) {
          copy_gradient(rows, line, job, image, group, y + low, many + high - low);
        }
        if (gk_is_winograd(s))
          winograd_grid(weights, NULL, many, columns, in, row, filters, out + y * out_row, out_row,
                        s->channels, channels, job->accumulate, gk_winograd_block(s), squares);
        else
          grid(&runs, weights, NULL, many, columns, in + job->halo_left * filters, row, filters,
               out + (py + y * s->stride_height) * out_row + px * s->channels,
               s->stride_height * out_row, s->stride_width * s->channels, channels, job->accumulate,
               past, gk_is_paired(s));
      }
      weights += panel * runs.count * runs.length;
    }
  }
}

/* The same chunk where operands are rounded. Images are taken two by two: each one's input gradient
 * from pairs of its filters, and the weights' gradient of both at once from units that hold a
 * number of the one and of the other. */
static void paired_backward_chunk(const gk_backward_job *job, int64_t chunk, int worker) {
  const gk_convolution *s = job->shape;
  int64_t d_step = 2 * gk_out_units(s), x_pixel = 2 * gk_in_units(s);
  int64_t row = (job->halo_left + s->out_width + job->halo_right) * d_step;
  int64_t weights = gk_padded(s->filters / s->groups) * job->runs->count * job->runs->length;
  float *partial = job->partial + chunk * job->partial_stride;
  int64_t band = gk_band(s);
  int64_t x_size = gk_in_rows(s, band) * gk_in_width(s) * gk_in_units(s);
  float *rows = job->scratch + worker * job->scratch_stride, *copies = rows + 2 * job->rows_size;
  float *d = copies + 2 * x_size + GK_SLACK, *x = d + 2 * job->together * job->rows_size + GK_SLACK;
  float *line = x + 2 * job->together * x_size + GK_SLACK;
  memset(partial, 0, (size_t)job->partial_stride * sizeof(float));
  int64_t end = gk_min(s->n, (chunk + 1) * job->chunk_images), images;
  for (int64_t image = chunk * job->chunk_images; image < end; image += images) {
    images = gk_min(2 * job->together, end - image);
    int64_t pairs = gk_ceil_div(images, 2);
    for (int64_t g = 0; g < s->groups; ++g) {
      for (int64_t i = 0; i < images; ++i) {
        float *its = rows + i % 2 * job->rows_size;
        if (job->whole)
          copy_gradient(its, line, job, image + i, g, -job->halo_top,
                        job->halo_top + s->out_height + job->halo_bottom);
        if (job->input_gradient != NULL) input_gradient(job, image + i, g, its, line, NULL);
        if (job->whole && (i % 2 == 1 || i + 1 == images))
          pair_images(d + i / 2 * 2 * job->rows_size, rows,
                      i % 2 == 1 ? rows + job->rows_size : NULL, 2 * job->rows_size);
      }
      for (int64_t y = 0; y < s->out_height; y += band) {
        int64_t many = gk_min(band, s->out_height - y), in_rows = gk_in_rows(s, many);
        for (int64_t i = 0; i < images; ++i) {
          copy_rows(copies + i % 2 * x_size, line, s, &job->in, image + i, g,
                    y * s->stride_height - s->padding_height, in_rows);
          if (!job->whole)
            copy_gradient(rows + i % 2 * job->rows_size, line, job, image + i, g, y, many);
          if (i % 2 == 0 && i + 1 < images) continue;
          pair_images(x + i / 2 * 2 * x_size, copies, i % 2 == 1 ? copies + x_size : NULL,
                      in_rows * gk_in_width(s) * x_pixel);
          if (!job->whole)
            pair_images(d + i / 2 * 2 * job->rows_size, rows,
                        i % 2 == 1 ? rows + job->rows_size : NULL, many * row);
        }
        const float *its = d + job->halo_left * d_step;
        if (job->whole) its += (job->halo_top + y) * row;
        weight_pixels pixels = {pairs,
                                2 * x_size,
                                2 * job->rows_size,
                                many,
                                gk_in_width(s) * x_pixel * s->stride_height,
                                row,
                                s->out_width,
                                x_pixel * s->stride_width,
                                d_step};
        weight_band(s, job->runs, &pixels, x, its, partial + g * weights);
        float *bias = partial + job->weight_size + g * (s->filters / s->groups);
        for (int64_t i = 0; i < pairs && job->want_bias; ++i)
          for (int64_t r = 0; r < many; ++r)
            for (int64_t c = 0; c < s->out_width; ++c)
              for (int64_t f = 0; f < s->filters / s->groups; ++f)
                bias[f] += pair_sum(its + i * 2 * job->rows_size + r * row + c * d_step + f);
      }
    }
  }
}

#include "local_tiles.h"

static void convolution_backward_tile(void *context, int64_t chunk, int worker) {
  const gk_backward_job *job = context;
  const gk_convolution *s = job->shape;
  if (gk_is_paired(s)) {
    paired_backward_chunk(job, chunk, worker);
    return;
  }
  if (gk_is_local(s) && !job->apart) {
    local_backward_chunk(job, chunk, worker);
    return;
  }
  int64_t filters = s->filters / s->groups;
  int64_t row = (job->halo_left + s->out_width + job->halo_right) * filters;
  int64_t weights = gk_padded(filters) * job->runs->count * job->runs->length;
  int winograd = gk_is_winograd(s);
  int64_t block = gk_winograd_block(s);
  float *partial = job->partial + chunk * job->partial_stride;
  float *scratch = job->scratch + worker * job->scratch_stride;
  int64_t band = gk_band(s);
  winograd_block waiting = {scratch,
                            scratch + GK_POSITIONS * gk_winograd_position(block, s->channels), 0};
  float *squares = waiting.d + GK_POSITIONS * gk_winograd_position(block, s->filters);
  int64_t x_size = gk_in_rows(s, band) * gk_in_width(s) * (s->channels / s->groups);
  float *rows = scratch + gk_winograd_scratch(s);
  float *x = scratch + job->scratch_stride - (job->together * x_size + GK_SLACK);
  if (!job->apart) memset(partial, 0, (size_t)job->partial_stride * sizeof(float));
  int64_t end = gk_min(s->n, (chunk + 1) * job->chunk_images), images;
  for (int64_t image = chunk * job->chunk_images; image < end; image += images) {
    images = gk_min(job->together, end - image);
    for (int64_t g = 0; g < s->groups; ++g) {
      for (int64_t i = 0; i < images; ++i) {
        float *its = rows + i * job->rows_size;
        if (job->whole)
          copy_gradient(its, NULL, job, image + i, g, -job->halo_top,
                        job->halo_top + s->out_height + job->halo_bottom);
        if (job->input_gradient != NULL) input_gradient(job, image + i, g, its, NULL, squares);
      }
      for (int64_t y = 0; y < s->out_height && !job->apart; y += band) {
        int64_t many = gk_min(band, s->out_height - y);
        const float *d = rows + job->halo_left * filters;
        if (job->whole) {
          d += (job->halo_top + y) * row;
        } else {
          copy_gradient(rows, NULL, job, image, g, y, many);
        }
        for (int64_t i = 0; i < images; ++i)
          copy_rows(x + i * x_size, NULL, s, &job->in, image + i, g,
                    y * s->stride_height - s->padding_height, gk_in_rows(s, many));
        if (winograd) {
          winograd_band(s, x, d, row, many, &waiting, partial);
        } else {
          int64_t channels = s->channels / s->groups, x_step = channels * s->stride_width;
          int64_t x_row = gk_in_width(s) * channels * s->stride_height;
          weight_pixels pixels = {images, x_size,       job->rows_size, many,   x_row,
                                  row,    s->out_width, x_step,         filters};
          if (gk_is_narrow(s))
            narrow_band(s, job->runs, &pixels, x, d, partial);
          else
            weight_band(s, job->runs, &pixels, x, d, partial + g * weights);
        }
        float *bias = partial + job->weight_size + g * filters;
        for (int64_t i = 0; i < images && job->want_bias; ++i)
          for (int64_t r = 0; r < many; ++r)
            for (int64_t c = 0; c < s->out_width; ++c)
              for (int64_t f = 0; f < filters; ++f)
                bias[f] += d[i * job->rows_size + r * row + c * filters + f];
      }
    }
  }
  if (winograd) winograd_flush(s, &waiting, partial);
}
