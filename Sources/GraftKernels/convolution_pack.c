/* Weights as the convolution's tiles want them: for each panel of filters, [k][panel width]. */
#include <string.h>

#include "bfloat16.h"
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

/* One unit of packed weights: that of input k, or those of inputs 2 k and 2 k + 1. */
static void put(float *packed, const float *weights, int64_t k, int64_t inputs, int64_t step,
                int paired) {
  if (!paired) {
    *packed = weights[k * step];
    return;
  }
  gk_half *halves = (gk_half *)packed;
  halves[0] = gk_bfloat16(weights[2 * k * step]);
  halves[1] = 2 * k + 1 < inputs ? gk_bfloat16(weights[(2 * k + 1) * step]) : 0;
}

void gk_convolution_pack(const gk_convolution *s, const float *weights, float *packed) {
  if (gk_is_winograd(s)) {
    gk_winograd_pack(s, weights, packed);
    return;
  }
  if (gk_is_narrow(s)) {
    pack_narrow(s, weights, packed);
    return;
  }
  int64_t channels = s->channels / s->groups, filters = s->filters / s->groups;
  int64_t kernel = s->kernel_height * s->kernel_width, padded = gk_padded(filters);
  for (int64_t g = 0; g < s->groups; ++g) {
    for (int64_t lane = 0; lane < padded; lane += GK_PANEL) {
      int64_t width = gk_panel_width(lane, padded);
      for (int64_t t = 0; t < kernel; ++t)
        for (int64_t c = 0; c < gk_in_units(s); ++c)
          for (int64_t i = 0; i < width; ++i, ++packed) {
            const float *from = weights + (g * filters + lane + i) * channels * kernel + t;
            *packed = 0;
            if (lane + i < filters) put(packed, from, c, channels, kernel, gk_is_paired(s));
          }
    }
  }
}

void gk_convolution_pack_backward(const gk_convolution *s, const float *weights, float *packed) {
  if (gk_is_winograd(s)) {
    gk_winograd_pack_backward(s, weights, packed);
    return;
  }
  int64_t channels = s->channels / s->groups, filters = s->filters / s->groups;
  int64_t kernel = s->kernel_height * s->kernel_width, padded = gk_padded(channels);
  for (int64_t g = 0; g < s->groups; ++g) {
    for (int64_t py = 0; py < s->stride_height; ++py) {
      gk_axis_taps ty;
      gk_phase_taps(s->kernel_height, s->stride_height, s->padding_height, s->dilation_height, py,
                    &ty);
      for (int64_t px = 0; px < s->stride_width; ++px) {
        gk_axis_taps tx;
        gk_phase_taps(s->kernel_width, s->stride_width, s->padding_width, s->dilation_width, px,
                      &tx);
        for (int64_t lane = 0; lane < padded; lane += GK_PANEL) {
          int64_t width = gk_panel_width(lane, padded);
          for (int64_t y = 0; y < ty.count; ++y)
            for (int64_t x = 0; x < tx.count; ++x) {
              int64_t t = ty.tap[y] * s->kernel_width + tx.tap[x];
              for (int64_t f = 0; f < gk_out_units(s); ++f)
                for (int64_t i = 0; i < width; ++i, ++packed) {
                  const float *from = weights + (g * filters * channels + lane + i) * kernel + t;
                  *packed = 0;
                  if (lane + i < channels)
                    put(packed, from, f, filters, channels * kernel, gk_is_paired(s));
                }
            }
        }
      }
    }
  }
}
