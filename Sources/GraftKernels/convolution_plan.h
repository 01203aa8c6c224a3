/* How a convolution is cut into tiles, panels and runs. Internal to the kernels.
 *
 * Filters are taken in panels of 32 (the last one of a group may be 16), zero-padded, so that a
 * panel's weights lie as [k][panel width]. k counts an output pixel's inputs in runs: a run is
 * contiguous in the padded rows that a tile has copied, kernel_width * channels long (for a dilated
 * kernel one run a tap, channels long). Results never depend on the number of threads, which only
 * decides how many tiles are worked on at once. Between instruction sets they differ by rounding:
 * AVX-512 adds in another order where that loads less, and the baseline has no fused products. */
#ifndef GRAFT_CONVOLUTION_PLAN_H
#define GRAFT_CONVOLUTION_PLAN_H

#include "graft_convolution.h"
#include "integers.h"
#include "narrow_plan.h"
#include "paired_plan.h"
#include "winograd_plan.h"

#define GK_MAX_RUNS (GK_MAX_KERNEL * GK_MAX_KERNEL)
/* Floats that a tile may read past the last row it has copied: three pixels of a quad that is cut
 * by the row's end, and a panel's lanes. */
#define GK_SLACK 64

/* Lanes of a group's panels: a multiple of 16. */
static inline int64_t gk_padded(int64_t channels) { return gk_ceil_div(channels, 16) * 16; }

/* Width of the panel that starts at `lane`. */
static inline int64_t gk_panel_width(int64_t lane, int64_t padded) {
  return gk_min(GK_PANEL, padded - lane);
}

/* What is kept of a kernel's weights for an input and an output channel. */
static inline int64_t gk_kernel_size(const gk_convolution *s) {
  return gk_is_winograd(s) && !gk_is_winograd_wide(s) ? GK_POSITIONS
                                                      : s->kernel_height * s->kernel_width;
}

/* A set of runs. */
typedef struct gk_runs {
  int64_t count, length;       /* runs, and floats in each */
  int64_t offset[GK_MAX_RUNS]; /* from a pixel's base, in floats */
} gk_runs;

/* Rows of the input that `rows` rows of output need, and their padded width. */
static inline int64_t gk_in_rows(const gk_convolution *s, int64_t rows) {
  return (rows - 1) * s->stride_height + (s->kernel_height - 1) * s->dilation_height + 1;
}
static inline int64_t gk_in_width(const gk_convolution *s) {
  return (gk_ceil_div(s->out_width, 4) * 4 - 1) * s->stride_width +
         (s->kernel_width - 1) * s->dilation_width + 1;
}

/* Floats of output in a forward tile, about, where they wait to be rounded. */
#define GK_HALVED 32768

/* Rows of output in a forward tile (and in a backward band): about 8192 floats of input; where
 * neighbouring rows of output read the same rows, at least four if they take at most 65536. */
static inline int64_t gk_band(const gk_convolution *s) {
  int64_t row = gk_in_width(s) * gk_in_units(s);
  int64_t rows = 8192 / gk_max(1, row * s->stride_height);
  int64_t most = 65536 / gk_max(1, row * s->stride_height);
  if (s->kernel_height > s->stride_height) rows = gk_max(rows, gk_min(4, most));
  if (gk_is_winograd_wide(s)) {
    gk_winograd_tiling tiling = gk_winograd_tile(s);
    return gk_min(2 * tiling.rows, s->out_height);
  }
  if (gk_is_winograd(s)) return gk_max(2, gk_min(rows, s->out_height) & ~(int64_t)1);
  if (s->halves) rows = gk_min(rows, GK_HALVED / (s->out_width * s->filters));
  return gk_max(1, gk_min(rows, s->out_height));
}

/* The inputs of an output pixel, of so many units each. */
static inline void gk_forward_runs(const gk_convolution *s, int64_t channels, gk_runs *runs) {
  int64_t row = gk_in_width(s) * channels;
  int merged = s->dilation_width == 1;
  int64_t per_row = merged ? 1 : s->kernel_width;
  runs->count = 0;
  runs->length = merged ? s->kernel_width * channels : channels;
  for (int64_t ky = 0; ky < s->kernel_height; ++ky)
    for (int64_t i = 0; i < per_row; ++i)
      runs->offset[runs->count++] =
          ky * s->dilation_height * row + i * s->dilation_width * channels;
}

/* ---- backward to the input ----
 * Input pixel i gets its gradient from output pixels o with o * stride = i + padding - k *
 * dilation. For the pixels of one phase (i mod stride) that is a plain convolution over the
 * output's gradient with those taps k whose remainder fits; taps are taken in descending order, so
 * that their offsets ascend. */
typedef struct gk_axis_taps {
  int64_t count;
  int64_t tap[GK_MAX_KERNEL];
  int64_t offset[GK_MAX_KERNEL]; /* o - i / stride, ascending */
} gk_axis_taps;

static inline void gk_phase_taps(int64_t kernel, int64_t stride, int64_t padding, int64_t dilation,
                                 int64_t phase, gk_axis_taps *taps) {
  taps->count = 0;
  for (int64_t k = kernel - 1; k >= 0; --k) {
    int64_t at = phase + padding - k * dilation;
    if (((at % stride) + stride) % stride != 0) continue;
    taps->tap[taps->count] = k;
    taps->offset[taps->count++] = at / stride;
  }
}

/* Halo of the output's gradient on one axis: rows (columns) that are read before 0 and past the
 * end. */
static inline void gk_halo(int64_t in, int64_t out, int64_t kernel, int64_t stride, int64_t padding,
                           int64_t dilation, int64_t quads, int64_t *before, int64_t *after) {
  *before = *after = 0;
  for (int64_t phase = 0; phase < stride; ++phase) {
    gk_axis_taps taps;
    gk_phase_taps(kernel, stride, padding, dilation, phase, &taps);
    if (taps.count == 0 || phase >= in) continue;
    int64_t last = gk_ceil_div(in - phase, stride) - 1;
    if (quads) last = gk_ceil_div(last + 1, 4) * 4 - 1;
    *before = gk_max(*before, -taps.offset[0]);
    *after = gk_max(*after, last + taps.offset[taps.count - 1] - (out - 1));
  }
}

/* ---- writing past the caches ----
 * A tensor that no cache holds is read from memory by whoever comes next; writing it line by line
 * past the caches saves reading it first. From this many floats on, where vectors of 16 lanes are
 * whole lines. */
#ifndef GK_LARGE /* the tests want it smaller */
#define GK_LARGE (4 << 20)
#endif

static inline int gk_goes_past(const float *to, int64_t floats, int64_t channels) {
  return floats >= GK_LARGE && channels % 16 == 0 && (uintptr_t)to % 64 == 0;
}

/* Rows that are written so wait in scratch memory for their statistics, at most so many floats; and
 * those that are written as bfloat16. */
#define GK_WAITING 65536

static inline int64_t gk_waiting(const gk_convolution *s) {
  int64_t rows = gk_band(s) * s->out_width * s->filters;
  if (s->halves) return rows;
  int large = s->n * s->out_height * s->out_width * s->filters >= GK_LARGE;
  return large && rows <= GK_WAITING ? rows : 0;
}

/* Images in a chunk of the backward pass, and the number of chunks: 32, fewer but at least 4 where
 * their weight gradients would take more than 8 MiB together. Depends on shapes alone. */
static inline int64_t gk_weight_panels(const gk_convolution *s) {
  if (gk_is_narrow(s)) return gk_narrow_size(s);
  return s->groups * gk_padded(s->filters / s->groups) * gk_weight_channels(s) * gk_kernel_size(s);
}
static inline int64_t gk_chunk_images(const gk_convolution *s) {
  int64_t most = gk_max(4, gk_min(32, (2 << 20) / gk_max(1, gk_weight_panels(s))));
  return gk_ceil_div(s->n, most);
}
static inline int64_t gk_chunks(const gk_convolution *s) {
  return gk_ceil_div(s->n, gk_chunk_images(s));
}

#endif
