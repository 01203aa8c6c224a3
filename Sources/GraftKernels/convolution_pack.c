/* Weights as the convolution's tiles want them: for each panel of filters, [k][panel width]. */
#include <string.h>

#include "bfloat16.h"
#include "graft_parallel.h"
#include "winograd_pack.h"

size_t gk_convolution_packed_size(const gk_convolution *s) {
  if (gk_is_narrow(s)) return (size_t)gk_narrow_size(s);
  return (size_t)(s->groups * gk_padded(s->filters / s->groups) * gk_in_units(s) *
                  gk_kernel_size(s));
}

size_t gk_convolution_packed_backward_size(const gk_convolution *s) {
  return (size_t)(s->groups * gk_padded(s->channels / s->groups) * gk_out_units(s) *
                  gk_kernel_size(s));
}

static void pack_narrow(const gk_convolution *s, const float *weights, float *packed) {
  int64_t channels = s->channels, wide = s->kernel_width, row = gk_narrow_row(s);
  memset(packed, 0, (size_t)gk_narrow_size(s) * sizeof(float));
  for (int64_t f = 0; f < s->filters; ++f)
    for (int64_t y = 0; y < s->kernel_height; ++y, packed += row)
      for (int64_t x = 0; x < wide; ++x)
        for (int64_t c = 0; c < channels; ++c)
          packed[x * channels + c] =
              weights[((f * channels + c) * s->kernel_height + y) * wide + x];
}

/* Panels are packed each by itself, in blocks that the first cache holds: weights are read, and
 * packed ones written, in the order in which they lie. */
typedef struct pack_job {
  const gk_convolution *shape;
  const float *weights;
  float *packed;
} pack_job;

/* A unit of packed weights in bfloat16: those of inputs 2 k and 2 k + 1. */
static void put_pair(float *packed, const float *weights, int64_t k, int64_t inputs, int64_t step) {
  gk_half *halves = (gk_half *)packed;
  halves[0] = gk_bfloat16(weights[2 * k * step]);
  halves[1] = 2 * k + 1 < inputs ? gk_bfloat16(weights[(2 * k + 1) * step]) : 0;
}

#define TURNED 64 /* units times taps that are turned round at once */

/* A lane's numbers from [unit][tap] to [tap][unit][lane], the taps `step` floats apart. */
static inline __attribute__((always_inline)) void turn(const float *from, float *to, int64_t units,
                                                       int64_t taps, int64_t step, int64_t width) {
  for (int64_t c = 0; c < units; ++c)
    for (int64_t t = 0; t < taps; ++t) to[t * step + c * width] = from[c * taps + t];
}

/* Writes some units of all taps: `width` lanes, of which `live` are filters. */
static void pack_block(const gk_convolution *s, const float *weights, float *packed, int64_t first,
                       int64_t count, int64_t width, int64_t live) {
  int64_t channels = s->channels / s->groups, units = gk_in_units(s);
  int64_t taps = s->kernel_height * s->kernel_width;
  /* Straight to their place the taps' numbers would often fall on the same lines of the cache. */
  int waits = taps > 1 && taps <= TURNED;
  float turned[TURNED * GK_PANEL];
  float *to = waits ? turned : packed + first * width;
  int64_t step = (waits ? count : units) * width;
  for (int64_t i = 0; i < width; ++i) {
    const float *from = weights + i * channels * taps;
    if (i >= live) {
      for (int64_t t = 0; t < taps; ++t)
        for (int64_t c = 0; c < count; ++c) to[t * step + c * width + i] = 0;
    } else if (gk_is_paired(s)) {
      for (int64_t c = 0; c < count; ++c)
        for (int64_t t = 0; t < taps; ++t)
          put_pair(to + t * step + c * width + i, from + t, first + c, channels, taps);
    } else if (taps == 1) {
      turn(from + first, to + i, count, 1, step, width);
    } else if (taps == 9) {
      turn(from + first * 9, to + i, count, 9, step, width);
    } else {
      turn(from + first * taps, to + i, count, taps, step, width);
    }
  }
  for (int64_t t = 0; waits && t < taps; ++t)
    memcpy(packed + (t * units + first) * width, turned + t * step, (size_t)step * sizeof(float));
}

static void pack_tile(void *context, int64_t tile, int worker) {
  const pack_job *job = context;
  const gk_convolution *s = job->shape;
  (void)worker;
  int64_t channels = s->channels / s->groups, filters = s->filters / s->groups;
  int64_t kernel = s->kernel_height * s->kernel_width, padded = gk_padded(filters);
  int64_t panels = gk_ceil_div(padded, GK_PANEL), units = gk_in_units(s);
  int64_t group = tile / panels, lane = tile % panels * GK_PANEL;
  int64_t width = gk_panel_width(lane, padded), live = gk_min(width, filters - lane);
  const float *weights = job->weights + (group * filters + lane) * channels * kernel;
  float *packed = job->packed + (group * padded + lane) * units * kernel;
  int64_t some = gk_max(1, TURNED / kernel);
  for (int64_t c = 0; c < units; c += some)
    pack_block(s, weights, packed, c, gk_min(some, units - c), width, live);
}

void gk_convolution_pack(const gk_convolution *s, int threads, const float *weights,
                         float *packed) {
  if (gk_is_winograd(s) && !gk_is_winograd_wide(s)) {
    gk_winograd_pack(s, threads, weights, packed);
    return;
  }
  if (gk_is_narrow(s)) {
    pack_narrow(s, weights, packed);
    return;
  }
  pack_job job = {s, weights, packed};
  int64_t panels = gk_ceil_div(gk_padded(s->filters / s->groups), GK_PANEL);
  gk_parallel_for(threads, s->groups * panels, pack_tile, &job);
}

/* The same for the taps of one phase, backward. */
static void pack_phase(const gk_convolution *s, const gk_axis_taps *ty, const gk_axis_taps *tx,
                       const float *weights, float *packed, int64_t first, int64_t end,
                       int64_t width, int64_t live) {
  int64_t filters = s->filters / s->groups, kernel = s->kernel_height * s->kernel_width;
  int64_t step = s->channels / s->groups * kernel, units = gk_out_units(s);
  int paired = gk_is_paired(s);
  for (int64_t y = 0; y < ty->count; ++y)
    for (int64_t x = 0; x < tx->count; ++x, packed += units * width)
      for (int64_t f = first; f < end; ++f) {
        const float *from = weights + ty->tap[y] * s->kernel_width + tx->tap[x];
        float *to = packed + f * width;
        if (paired)
          for (int64_t i = 0; i < live; ++i) put_pair(to + i, from + i * kernel, f, filters, step);
        else
          for (int64_t i = 0; i < live; ++i) to[i] = from[f * step + i * kernel];
        for (int64_t i = live; i < width; ++i) to[i] = 0;
      }
}

static void pack_backward_tile(void *context, int64_t tile, int worker) {
  const pack_job *job = context;
  const gk_convolution *s = job->shape;
  (void)worker;
  int64_t channels = s->channels / s->groups, filters = s->filters / s->groups;
  int64_t kernel = s->kernel_height * s->kernel_width, padded = gk_padded(channels);
  int64_t panels = gk_ceil_div(padded, GK_PANEL), units = gk_out_units(s);
  int64_t group = tile / panels, lane = tile % panels * GK_PANEL;
  int64_t width = gk_panel_width(lane, padded), live = gk_min(width, channels - lane);
  const float *weights = job->weights + (group * filters * channels + lane) * kernel;
  int64_t some = gk_max(1, TURNED / kernel);
  for (int64_t f = 0; f < units; f += some) {
    float *packed = job->packed + group * padded * units * kernel;
    for (int64_t py = 0; py < s->stride_height; ++py) {
      gk_axis_taps ty;
      gk_phase_taps(s->kernel_height, s->stride_height, s->padding_height, s->dilation_height, py,
                    &ty);
      for (int64_t px = 0; px < s->stride_width; ++px) {
        gk_axis_taps tx;
        gk_phase_taps(s->kernel_width, s->stride_width, s->padding_width, s->dilation_width, px,
                      &tx);
        int64_t size = units * ty.count * tx.count;
        pack_phase(s, &ty, &tx, weights, packed + lane * size, f, gk_min(units, f + some), width,
                   live);
        packed += padded * size;
      }
    }
  }
}

void gk_convolution_pack_backward(const gk_convolution *s, int threads, const float *weights,
                                  float *packed) {
  if (gk_is_winograd(s) && !gk_is_winograd_wide(s)) {
    gk_winograd_pack_backward(s, threads, weights, packed);
    return;
  }
  pack_job job = {s, weights, packed};
  int64_t panels = gk_ceil_div(gk_padded(s->channels / s->groups), GK_PANEL);
  gk_parallel_for(threads, s->groups * panels, pack_backward_tile, &job);
}
