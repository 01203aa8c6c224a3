#include "tiles.h"

void gk_concatenate_forward(int threads, const gk_part *parts, int64_t count, float *out,
                            float *statistics, int64_t pixels, int64_t channels) {
  gk_concatenate_job job = {parts, count, out, statistics, pixels, channels};
  gk_parallel_for(threads, gk_pixel_tiles(pixels, channels), gk_tiles_here()->concatenate, &job);
}

void gk_concatenate_backward(int threads, gk_gradient_view gradient, const gk_gradient_part *parts,
                             int64_t count, int64_t pixels, int64_t channels) {
  gk_split_job job = {gradient, parts, count, pixels, channels};
  gk_parallel_for(threads, gk_pixel_tiles(pixels, channels), gk_tiles_here()->split, &job);
}
