/* How a depthwise convolution is cut into tiles. Internal to the kernels. */
#ifndef GRAFT_DEPTHWISE_PLAN_H
#define GRAFT_DEPTHWISE_PLAN_H

#include "convolution_plan.h"
#include "graft_depthwise.h"

/* Channels with the lanes that are added so that a vector never reaches past a pixel. */
static inline int64_t gk_lanes(const gk_convolution *s) { return gk_padded(s->channels); }

/* Channels that a tile takes at once, so that their rows stay in the nearest cache. */
#define GK_DEPTHWISE_BLOCK 64
static inline int64_t gk_block(const gk_convolution *s) {
  return gk_min(GK_DEPTHWISE_BLOCK, gk_lanes(s));
}

static inline int64_t gk_depthwise_in_width(const gk_convolution *s) {
  return (s->out_width - 1) * s->stride_width + (s->kernel_width - 1) * s->dilation_width + 1;
}

/* Rows of output in a tile: about 8192 floats of a block's input. */
static inline int64_t gk_depthwise_rows(const gk_convolution *s) {
  int64_t row = gk_depthwise_in_width(s) * gk_block(s) * s->stride_height;
  return gk_max(1, gk_min(8192 / gk_max(1, row), s->out_height));
}

/* Floats of a block's output that waits for its statistics (convolution_plan.h). */
static inline int64_t gk_depthwise_waiting(const gk_convolution *s) {
  return gk_depthwise_rows(s) * s->out_width * gk_block(s);
}

/* The same of the input's gradient. */
static inline int64_t gk_depthwise_input_waiting(const gk_convolution *s) {
  return gk_depthwise_rows(s) * s->stride_height * s->width * gk_block(s);
}

/* In the backward pass, the output gradient's rows are padded with a halo, within which
 * the input gradient's taps reach. */
typedef struct gk_depthwise_halo {
  int64_t low, high;   /* rows before a band's first, and after its last */
  int64_t left, right; /* columns */
} gk_depthwise_halo;

static inline gk_depthwise_halo gk_depthwise_reach(const gk_convolution *s) {
  gk_depthwise_halo halo = {0, 0, 0, 0};
  for (int64_t phase = 0; phase < s->stride_height; ++phase) {
    gk_axis_taps taps;
    gk_phase_taps(s->kernel_height, s->stride_height, s->padding_height, s->dilation_height, phase,
                  &taps);
    if (taps.count == 0) continue;
    halo.low = gk_max(halo.low, -taps.offset[0]);
    halo.high = gk_max(halo.high, taps.offset[taps.count - 1]);
  }
  gk_halo(s->width, s->out_width, s->kernel_width, s->stride_width, s->padding_width,
          s->dilation_width, 0, &halo.left, &halo.right);
  return halo;
}

/* Rows of the input's gradient that belong to a phase beyond the output's rows (a stride that does
 * not divide the height) are taken with the last band. */
static inline int64_t gk_depthwise_phase_rows(int64_t in, int64_t phase, int64_t stride) {
  return phase < in ? gk_ceil_div(in - phase, stride) : 0;
}

#endif
