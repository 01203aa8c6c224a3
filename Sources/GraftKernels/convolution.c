/* Drivers of the convolution: they cut the work into tiles whose size depends on shapes alone. */
#include <string.h>

#include "tiles.h"
#include "winograd_pack.h"

/* An image's output gradient is copied as a whole where it takes no more floats than this. */
#define WHOLE_LIMIT 65536
/* Images are taken together up to so many, and to so many pixels. */
#define TOGETHER 16
#define TOGETHER_PIXELS 64

static void backward_layout(const gk_convolution *s, gk_backward_job *job) {
  gk_halo(s->height, s->out_height, s->kernel_height, s->stride_height, s->padding_height,
          s->dilation_height, 0, &job->halo_top, &job->halo_bottom);
  gk_halo(s->width, s->out_width, s->kernel_width, s->stride_width, s->padding_width,
          s->dilation_width, 1, &job->halo_left, &job->halo_right);
  int64_t row = (job->halo_left + s->out_width + job->halo_right) * gk_out_units(s);
  int64_t rows = job->halo_top + s->out_height + job->halo_bottom;
  job->whole = row * rows <= WHOLE_LIMIT;
  if (!job->whole) rows = gk_band(s) + (s->kernel_height - 1) * s->dilation_height;
  job->rows_size = row * rows;
  /* Small images of many filters share a pass over the weights' gradient, which is the larger. */
  int alone = !job->whole || s->groups > 1 || gk_is_winograd(s) || gk_band(s) < s->out_height;
  job->together =
      alone ? 1 : gk_max(1, gk_min(TOGETHER, TOGETHER_PIXELS / (s->out_height * s->out_width)));
}

/* Rows of squares that a worker copies at once for the wide weights' gradient. */
static int64_t winograd_rows(const gk_convolution *s) {
  int64_t row = 2 * gk_in_width(s) * gk_max(s->channels, s->filters);
  return gk_max(1, gk_min(gk_ceil_div(s->height, 2), WHOLE_LIMIT / row));
}

/* The same where there are many channels: a tile of either pass, or those rows. */
static int64_t wide_scratch(const gk_convolution *s) {
  gk_winograd_tiling tiling = gk_winograd_tile(s);
  int64_t pixels = (2 * gk_max(tiling.rows, winograd_rows(s)) + 2) * (gk_in_width(s) + 4);
  return gk_max(gk_winograd_tile_scratch(s, s->channels, s->filters, pixels * s->channels),
                gk_winograd_tile_scratch(s, s->filters, s->channels, pixels * s->filters));
}

size_t gk_convolution_scratch_size(const gk_convolution *s) {
  if (gk_is_winograd_wide(s)) return (size_t)(gk_ceil_div(wide_scratch(s), 16) * 16);
  gk_backward_job job;
  backward_layout(s, &job);
  int64_t x = gk_in_rows(s, gk_band(s)) * gk_in_width(s) * gk_in_units(s);
  int64_t copies = job.together * (job.rows_size + x) + 2 * GK_SLACK;
  if (gk_is_paired(s)) {
    /* Two images' rows, the pairs of them for each of `together`, and a line (paired_backward). */
    int64_t line = gk_max(gk_in_width(s) * s->channels, s->out_width * s->filters) / s->groups;
    copies = 2 * (1 + job.together) * (job.rows_size + x) + line + 4 * GK_SLACK;
  }
  int64_t size = gk_winograd_scratch(s) + copies + gk_ceil_div(gk_waiting(s), 16) * 16;
  size = gk_max(size, gk_max(gk_across_scratch(s), gk_apart_scratch(s)));
  size = gk_max(size, gk_max(gk_local_scratch(s), gk_flat_scratch(s)));
  return (size_t)(gk_ceil_div(size, 16) * 16);
}

/* Each chunk's weight gradients and, behind them, its bias gradients. */
static int64_t partial_stride(const gk_convolution *s) {
  return gk_ceil_div(gk_weight_panels(s) + s->filters, 16) * 16;
}

size_t gk_convolution_partial_size(const gk_convolution *s) {
  if (gk_is_apart(s)) return (size_t)gk_apart_size(s);
  if (gk_is_winograd_wide(s))
    return (size_t)(gk_winograd_sums(s) + gk_winograd_waiting(s, s->channels) +
                    gk_winograd_waiting(s, s->filters));
  return (size_t)(gk_chunks(s) * partial_stride(s));
}

int gk_convolution_can_halve(const gk_convolution *s) { return gk_is_paired(s); }

static int64_t bands(const gk_convolution *s) { return gk_ceil_div(s->out_height, gk_band(s)); }

int64_t gk_convolution_tiles(const gk_convolution *s) {
  if (!gk_is_flat(s)) return s->n * bands(s);
  gk_product product;
  gk_forward_product(s, &product);
  return gk_ceil_div(s->n * s->out_height * s->out_width, product.share);
}

int64_t gk_convolution_tile_pixels(const gk_convolution *s, int64_t sizes[2]) {
  int64_t period = bands(s), tile = gk_band(s) * s->out_width;
  int64_t pixels = s->out_height * s->out_width;
  if (gk_is_flat(s)) {
    gk_product product;
    gk_forward_product(s, &product);
    tile = product.share, pixels *= s->n, period = gk_ceil_div(pixels, tile);
  }
  sizes[0] = tile, sizes[1] = pixels - (period - 1) * tile;
  return period;
}

/* Tiles across images: of those whose input takes so many floats, and of so many filters. */
static int64_t across_tiles(const gk_convolution *s, int64_t floats, int64_t filters) {
  return gk_ceil_div(s->n, gk_across_images(floats)) * gk_ceil_div(filters, GK_ACROSS_FILTERS);
}

void gk_convolution_forward(const gk_convolution *s, int threads, gk_view in, const float *packed,
                            const float *bias, float *out, float *statistics, float *scratch) {
  const gk_tiles *tiles = gk_tiles_here();
  if (gk_is_flat(s)) {
    gk_flat_job job = {.in = in,
                       .packed = packed,
                       .bias = bias,
                       .out = out,
                       .statistics = statistics,
                       .scratch = scratch,
                       .scratch_stride = (int64_t)gk_convolution_scratch_size(s)};
    gk_product *product = job.products.product;
    gk_forward_product(s, product);
    gk_parallel_for(threads, gk_product_tiles(product), tiles->flat_forward, &job);
    return;
  }
  gk_runs runs;
  gk_forward_runs(s, gk_in_units(s), &runs);
  gk_forward_job job = {s,          in,         packed,  bias,
                        out,        statistics, scratch, (int64_t)gk_convolution_scratch_size(s),
                        gk_band(s), bands(s),   &runs};
  if (gk_is_winograd_wide(s))
    gk_parallel_for(threads, gk_winograd_tiles(s, s->filters), tiles->winograd_forward, &job);
  else if (gk_is_across(s))
    gk_parallel_for(threads, across_tiles(s, s->height * s->width * s->channels, s->filters),
                    tiles->across_forward, &job);
  else
    gk_parallel_for(threads, gk_convolution_tiles(s), tiles->convolution_forward, &job);
}

/* ---- joining the chunks' gradients, in their order ---- */

#define JOINED 64 /* sums of a filter that are joined at once */

typedef struct join_job {
  const gk_convolution *shape;
  const float *partial;
  float *weights, *bias;
} join_job;

/* The same for few filters (narrow_plan.h), a tile. */
static void join_narrow(const gk_convolution *s, const float *partial, int64_t chunks,
                        int64_t stride, float *weights) {
  int64_t row = gk_narrow_row(s), wide = s->kernel_width;
  for (int64_t f = 0; f < s->filters; ++f)
    for (int64_t y = 0; y < s->kernel_height; ++y, partial += row)
      for (int64_t k = 0; k < wide * s->channels; ++k) {
        float sum = 0;
        for (int64_t chunk = 0; chunk < chunks; ++chunk) sum += partial[chunk * stride + k];
        weights[((f * s->channels + k % s->channels) * s->kernel_height + y) * wide +
                k / s->channels] = sum;
      }
}

static void join_tile(void *context, int64_t tile, int worker) {
  const join_job *job = context;
  const gk_convolution *s = job->shape;
  (void)worker;
  int64_t stride = partial_stride(s), chunks = gk_chunks(s);
  int64_t channels = s->channels / s->groups, filters = s->filters / s->groups;
  int64_t made = gk_weight_channels(s); /* of which the last may be padding */
  int64_t kernel = s->kernel_height * s->kernel_width, padded = gk_padded(filters);
  int64_t group = tile / gk_ceil_div(padded, GK_PANEL);
  int64_t lane = tile % gk_ceil_div(padded, GK_PANEL) * GK_PANEL;
  int64_t width = gk_panel_width(lane, padded);
  if (gk_is_narrow(s)) {
    join_narrow(s, job->partial, chunks, stride, job->weights);
    return;
  }
  const float *from = job->partial + group * padded * made * kernel + lane * made * kernel;
  /* A few channels and taps at once, so that a filter's gradients are written side by side. */
  int64_t taps = gk_min(kernel, JOINED), some = JOINED / taps;
  for (int64_t c = 0; c < channels; c += some)
    for (int64_t t = 0; t < kernel; t += taps) {
      int64_t many = gk_min(some, channels - c), end = gk_min(taps, kernel - t);
      float sums[JOINED * GK_PANEL];
      for (int64_t k = 0; k < end; ++k) {
        const float *first = from + ((t + k) * made + c) * width;
        float *sum = sums + k * some * width;
        memset(sum, 0, (size_t)(many * width) * sizeof(float));
        for (int64_t chunk = 0; chunk < chunks; ++chunk)
          for (int64_t i = 0; i < many * width; ++i) sum[i] += first[chunk * stride + i];
      }
      for (int64_t i = 0; i < gk_min(width, filters - lane); ++i)
        for (int64_t j = 0; j < many; ++j) {
          float *to = job->weights + ((group * filters + lane + i) * channels + c + j) * kernel + t;
          for (int64_t k = 0; k < end; ++k) to[k] = sums[(k * some + j) * width + i];
        }
    }
}

/* The backward pass of a convolution of many channels by Winograd's way. */
static void winograd_wide_backward(const gk_backward_job *job, int threads) {
  const gk_convolution *s = job->shape;
  const gk_tiles *tiles = gk_tiles_here();
  if (job->input_gradient != NULL)
    gk_parallel_for(threads, gk_winograd_tiles(s, s->channels), tiles->winograd_input, (void *)job);
  int64_t most = gk_winograd_images(s), blocks = gk_ceil_div(s->channels, GK_WINOGRAD_CHANNELS);
  gk_winograd_job wait = {.backward = job, .rows = winograd_rows(s)};
  wait.x = job->partial + gk_winograd_sums(s);
  wait.d = wait.x + gk_winograd_waiting(s, s->channels);
  for (; wait.image < s->n; wait.image += most) {
    wait.images = gk_min(most, s->n - wait.image);
    gk_parallel_for(threads, 2 * wait.images, tiles->winograd_wait, &wait);
    gk_parallel_for(threads, GK_POSITIONS * blocks, tiles->winograd_weights, &wait);
  }
  gk_winograd_unpack(s, threads, job->partial, 1, 0, job->weights_gradient);
}

int64_t gk_convolution_sum_tiles(const gk_convolution *s) {
  if (gk_is_flat_back(s) && s->stride_height == 1 && s->stride_width == 1) {
    gk_products products;
    gk_input_products(s, &products);
    return products.product[0].blocks;
  }
  return gk_is_local(s) && !gk_is_apart(s) ? gk_chunks(s) : 0;
}

void gk_convolution_backward(const gk_convolution *s, int threads, gk_view in,
                             gk_gradient_view gradient, const float *packed_backward,
                             float *input_gradient, int accumulate, gk_gradient_sums sums,
                             float *weights_gradient, float *bias_gradient, float *partial,
                             float *scratch) {
  gk_runs runs;
  gk_forward_runs(s, gk_weight_channels(s), &runs);
  gk_backward_job job;
  memset(&job, 0, sizeof job);
  job.shape = s, job.in = in, job.gradient = gradient, job.packed = packed_backward;
  job.input_gradient = input_gradient, job.accumulate = accumulate;
  job.want_bias = bias_gradient != NULL;
  job.partial = partial, job.partial_stride = partial_stride(s);
  job.weight_size = gk_weight_panels(s);
  job.scratch = scratch, job.scratch_stride = (int64_t)gk_convolution_scratch_size(s);
  job.chunk_images = gk_chunk_images(s);
  job.runs = &runs;
  job.apart = gk_is_apart(s);
  job.weights_gradient = weights_gradient, job.bias_gradient = bias_gradient;
  job.sums = sums;
  backward_layout(s, &job);
  if (gk_is_winograd_wide(s)) {
    winograd_wide_backward(&job, threads);
    return;
  }
  const gk_tiles *tiles = gk_tiles_here();
  if (gk_is_across(s) && input_gradient != NULL) {
    gk_parallel_for(threads,
                    across_tiles(s, s->out_height * s->out_width * s->filters, s->channels),
                    tiles->across_input, &job);
    job.input_gradient = NULL;
  }
  if (gk_is_flat_back(s) && input_gradient != NULL) {
    gk_flat_job flat = {.in = in,
                        .gradient = gradient,
                        .packed = packed_backward,
                        .out = input_gradient,
                        .accumulate = accumulate,
                        .sums = sums,
                        .scratch = scratch,
                        .scratch_stride = job.scratch_stride};
    gk_input_products(s, &flat.products);
    gk_parallel_for(threads, flat.products.tiles, tiles->flat_input, &flat);
    job.input_gradient = NULL;
  }
  if (!job.apart || job.input_gradient != NULL)
    gk_parallel_for(threads, gk_chunks(s), tiles->convolution_backward, &job);
  if (job.apart) {
    gk_parallel_for(threads, 2 * gk_ceil_div(s->n, GK_APART_IMAGES), tiles->apart_pack, &job);
    gk_parallel_for(threads,
                    gk_ceil_div(s->filters, GK_PANEL) * gk_ceil_div(s->channels, GK_APART_CHANNELS),
                    tiles->apart_weights, &job);
    return;
  }

  join_job join = {s, partial, weights_gradient, bias_gradient};
  int64_t panels = s->groups * gk_ceil_div(gk_padded(s->filters / s->groups), GK_PANEL);
  if (gk_is_winograd(s))
    gk_winograd_unpack(s, threads, partial, gk_chunks(s), job.partial_stride, weights_gradient);
  else
    gk_parallel_for(threads, panels, join_tile, &join);
  for (int64_t f = 0; bias_gradient != NULL && f < s->filters; ++f) {
    float sum = 0;
    for (int64_t chunk = 0; chunk < gk_chunks(s); ++chunk)
      sum += partial[chunk * job.partial_stride + job.weight_size + f];
    bias_gradient[f] = sum;
  }
}
