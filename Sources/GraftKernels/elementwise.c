#include "tiles.h"

int64_t gk_tile_pixels(int64_t channels) { return gk_max(1, GK_GRAIN / gk_max(1, channels)); }

int64_t gk_pixel_tiles(int64_t pixels, int64_t channels) {
  return gk_ceil_div(pixels, gk_tile_pixels(channels));
}

void gk_sum_forward(int threads, gk_view a, gk_view b, float slope, float *out, int64_t pixels,
                    int64_t channels) {
  gk_sum_job job = {a, b, slope, out, pixels, channels};
  gk_parallel_for(threads, gk_pixel_tiles(pixels, channels), gk_tiles_here()->sum, &job);
}

void gk_rectify_backward(int threads, const float *out, float slope, float *gradient,
                         int64_t count) {
  gk_rectify_job job = {out, slope, gradient, count};
  gk_parallel_for(threads, gk_ceil_div(count, GK_GRAIN), gk_tiles_here()->rectify, &job);
}

void gk_apply_gradient(int threads, gk_gradient_view gradient, float *to, int accumulate,
                       int64_t pixels, int64_t channels) {
  gk_apply_job job = {gradient, to, accumulate, pixels, channels};
  gk_parallel_for(threads, gk_pixel_tiles(pixels, channels), gk_tiles_here()->apply, &job);
}

void gk_sgd(int threads, const gk_sgd_settings *settings, float *weights, const float *gradient,
            float *momentum, int64_t count) {
  gk_sgd_job job = {settings, weights, gradient, momentum, count};
  gk_parallel_for(threads, gk_ceil_div(count, GK_GRAIN), gk_tiles_here()->sgd, &job);
}
