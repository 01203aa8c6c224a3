/* Drivers of the convolution in narrow groups. Its work is cut, and its rows are copied, like a
 * depthwise convolution's (depthwise_plan.h). */
#include "graft_grouped.h"

#include "tiles.h"

static int64_t taps(const gk_convolution *s) { return s->kernel_height * s->kernel_width; }

static int64_t width(const gk_convolution *s) { return s->channels / s->groups; }

int gk_is_grouped(const gk_convolution *s) {
  int64_t w = width(s);
  return s->groups > 1 && s->channels == s->filters && s->channels % 16 == 0 &&
         (w == 4 || w == 8 || w == 16);
}

size_t gk_grouped_packed_size(const gk_convolution *s) {
  return (size_t)(taps(s) * width(s) * s->channels);
}

size_t gk_grouped_scratch_size(const gk_convolution *s) { return gk_depthwise_scratch_size(s); }

/* Weight gradients, [tap][channel of the group][filter], and, behind them, bias gradients, of each
 * chunk of images. */
static int64_t partial_stride(const gk_convolution *s) {
  return (taps(s) * width(s) + 1) * s->channels;
}

static int64_t chunk_images(const gk_convolution *s) { return gk_ceil_div(s->n, 32); }

static int64_t chunks(const gk_convolution *s) { return gk_ceil_div(s->n, chunk_images(s)); }

size_t gk_grouped_partial_size(const gk_convolution *s) {
  return (size_t)(chunks(s) * partial_stride(s));
}

int64_t gk_grouped_band(const gk_convolution *s) { return gk_depthwise_rows(s); }

int64_t gk_grouped_tiles(const gk_convolution *s) {
  return s->n * gk_ceil_div(s->out_height, gk_depthwise_rows(s));
}

typedef struct pack_job {
  const gk_convolution *shape;
  const float *weights;
  float *packed;
} pack_job;

/* packed[(t w + j) channels + lane] is the weight between lane and channel j of its group: forward
 * the lane is a filter, backward a channel of the input and j a filter. A tile is a tap. */
static void pack_tap(const pack_job *job, int64_t t, int backward) {
  const gk_convolution *s = job->shape;
  int64_t w = width(s), count = taps(s);
  float *packed = job->packed + t * w * s->channels;
  for (int64_t j = 0; j < w; ++j)
    for (int64_t lane = 0; lane < s->channels; ++lane, ++packed) {
      int64_t filter = backward ? lane / w * w + j : lane, channel = backward ? lane % w : j;
      *packed = job->weights[(filter * w + channel) * count + t];
    }
}

static void pack_tile(void *context, int64_t tile, int worker) {
  (void)worker;
  pack_tap(context, tile, 0);
}

static void pack_backward_tile(void *context, int64_t tile, int worker) {
  (void)worker;
  pack_tap(context, tile, 1);
}

void gk_grouped_pack(const gk_convolution *s, int threads, const float *weights, float *packed) {
  pack_job job = {s, weights, packed};
  gk_parallel_for(threads, taps(s), pack_tile, &job);
}

void gk_grouped_pack_backward(const gk_convolution *s, int threads, const float *weights,
                              float *packed) {
  pack_job job = {s, weights, packed};
  gk_parallel_for(threads, taps(s), pack_backward_tile, &job);
}

void gk_grouped_forward(const gk_convolution *s, int threads, gk_view in, const float *packed,
                        const float *bias, float *out, float *statistics, float *scratch) {
  gk_depthwise_job job = {.shape = s,
                          .in = in,
                          .packed = packed,
                          .bias = bias,
                          .out = out,
                          .statistics = statistics,
                          .scratch = scratch};
  job.scratch_stride = (int64_t)gk_grouped_scratch_size(s);
  job.band = gk_depthwise_rows(s);
  job.bands = gk_ceil_div(s->out_height, job.band);
  gk_parallel_for(threads, gk_grouped_tiles(s), gk_tiles_here()->grouped_forward, &job);
}

void gk_grouped_backward(const gk_convolution *s, int threads, gk_view in,
                         gk_gradient_view gradient, const float *packed_backward,
                         float *input_gradient, int accumulate, gk_gradient_sums sums,
                         float *weights_gradient, float *bias_gradient, float *partial,
                         float *scratch) {
  (void)sums;
  gk_depthwise_job job = {.shape = s,
                          .in = in,
                          .gradient = gradient,
                          .packed = packed_backward,
                          .input_gradient = input_gradient,
                          .accumulate = accumulate,
                          .want_bias = bias_gradient != NULL,
                          .partial = partial,
                          .scratch = scratch};
  job.scratch_stride = (int64_t)gk_grouped_scratch_size(s);
  job.band = gk_depthwise_rows(s);
  job.partial_stride = partial_stride(s);
  job.chunk_images = chunk_images(s);
  job.halo = gk_depthwise_reach(s);
  gk_parallel_for(threads, chunks(s), gk_tiles_here()->grouped_backward, &job);

  /* Joined in the chunks' order, into the first chunk's place. */
  int64_t w = width(s), count = taps(s), size = (count * w + 1) * s->channels;
  for (int64_t chunk = 1; chunk < chunks(s); ++chunk)
    for (int64_t i = 0; i < size; ++i) partial[i] += partial[chunk * job.partial_stride + i];
  for (int64_t f = 0; f < s->filters; ++f) {
    for (int64_t j = 0; j < w; ++j)
      for (int64_t t = 0; t < count; ++t)
        weights_gradient[(f * w + j) * count + t] = partial[(t * w + j) * s->channels + f];
    if (bias_gradient != NULL) bias_gradient[f] = partial[count * w * s->channels + f];
  }
}
