#include "graft_depthwise.h"

#include <string.h>

#include "tiles.h"

/* From so many images on a thread takes whole ones: a band's successor is then its own. */
#define WHOLE_IMAGES 16

int gk_is_depthwise(const gk_convolution *s) {
  return s->groups > 1 && s->groups == s->channels && s->groups == s->filters;
}

static int64_t taps(const gk_convolution *s) { return s->kernel_height * s->kernel_width; }

size_t gk_depthwise_packed_size(const gk_convolution *s) { return (size_t)(taps(s) * gk_lanes(s)); }

size_t gk_depthwise_scratch_size(const gk_convolution *s) {
  gk_depthwise_halo halo = gk_depthwise_reach(s);
  int64_t band = gk_depthwise_rows(s), lanes = gk_block(s);
  int64_t d = (halo.low + band + halo.high) * (halo.left + s->out_width + halo.right) * lanes;
  int64_t x = gk_in_rows(s, band) * gk_depthwise_in_width(s) * lanes;
  int64_t forward = x + GK_SLACK + gk_depthwise_waiting(s);
  int64_t backward = d + x + GK_SLACK + gk_depthwise_input_waiting(s);
  return (size_t)gk_max(backward, forward);
}

/* Weight gradients and, behind them, bias gradients, of each chunk. */
static int64_t partial_stride(const gk_convolution *s) { return (taps(s) + 1) * gk_lanes(s); }

static int64_t chunk_images(const gk_convolution *s) { return gk_ceil_div(s->n, 32); }

static int64_t chunks(const gk_convolution *s) { return gk_ceil_div(s->n, chunk_images(s)); }

size_t gk_depthwise_partial_size(const gk_convolution *s) {
  return (size_t)(chunks(s) * partial_stride(s));
}

int64_t gk_depthwise_band(const gk_convolution *s) { return gk_depthwise_rows(s); }

int64_t gk_depthwise_tiles(const gk_convolution *s) {
  return s->n * gk_ceil_div(s->out_height, gk_depthwise_rows(s));
}

void gk_depthwise_pack(const gk_convolution *s, int threads, const float *weights, float *packed) {
  (void)threads; /* they are few */
  int64_t lanes = gk_lanes(s), count = taps(s);
  for (int64_t t = 0; t < count; ++t)
    for (int64_t c = 0; c < lanes; ++c)
      packed[t * lanes + c] = c < s->channels ? weights[c * count + t] : 0;
}

void gk_depthwise_forward(const gk_convolution *s, int threads, gk_view in, const float *packed,
                          const float *bias, float *out, float *statistics, float *scratch) {
  gk_depthwise_job job = {.shape = s,
                          .in = in,
                          .packed = packed,
                          .bias = bias,
                          .out = out,
                          .statistics = statistics,
                          .scratch = scratch};
  job.scratch_stride = (int64_t)gk_depthwise_scratch_size(s);
  job.band = gk_depthwise_rows(s);
  job.bands = gk_ceil_div(s->out_height, job.band);
  job.together = s->n >= WHOLE_IMAGES ? job.bands : 1;
  gk_parallel_for(threads, gk_depthwise_tiles(s) / job.together, gk_tiles_here()->depthwise_forward,
                  &job);
}

int64_t gk_depthwise_sum_tiles(const gk_convolution *s) { return chunks(s); }

void gk_depthwise_backward(const gk_convolution *s, int threads, gk_view in,
                           gk_gradient_view gradient, const float *packed, float *input_gradient,
                           int accumulate, gk_gradient_sums sums, float *weights_gradient,
                           float *bias_gradient, float *partial, float *scratch) {
  gk_depthwise_job job = {.shape = s,
                          .in = in,
                          .gradient = gradient,
                          .packed = packed,
                          .input_gradient = input_gradient,
                          .accumulate = accumulate,
                          .want_bias = bias_gradient != NULL,
                          .sums = sums,
                          .partial = partial,
                          .scratch = scratch};
  job.scratch_stride = (int64_t)gk_depthwise_scratch_size(s);
  job.band = gk_depthwise_rows(s);
  job.partial_stride = partial_stride(s);
  job.chunk_images = chunk_images(s);
  job.halo = gk_depthwise_reach(s);
  gk_parallel_for(threads, chunks(s), gk_tiles_here()->depthwise_backward, &job);

  /* Joined in the chunks' order. */
  int64_t lanes = gk_lanes(s), count = taps(s);
  for (int64_t c = 0; c < s->channels; ++c) {
    for (int64_t t = 0; t <= count; ++t) {
      if (t == count && bias_gradient == NULL) break;
      float sum = 0;
      for (int64_t chunk = 0; chunk < chunks(s); ++chunk)
        sum += partial[chunk * job.partial_stride + t * lanes + c];
      *(t < count ? weights_gradient + c * count + t : bias_gradient + c) = sum;
    }
  }
}
