/* Weights of a 3 x 3 kernel to Winograd's 16 positions, and their gradient back. */
#include "winograd_pack.h"

#include "tiles.h"

void gk_winograd_pack(const gk_convolution *s, int threads, const float *weights, float *packed) {
  gk_winograd_weights_job job = {s->filters, s->channels, 9 * s->channels, 9, 0, weights, packed, 0,
                                 0};
  gk_parallel_for(threads, gk_ceil_div(job.out, GK_PANEL), gk_tiles_here()->winograd_pack, &job);
}

void gk_winograd_pack_backward(const gk_convolution *s, int threads, const float *weights,
                               float *packed) {
  gk_winograd_weights_job job = {s->channels, s->filters, 9, 9 * s->channels, 1, weights,
                                 packed,      0,          0};
  gk_parallel_for(threads, gk_ceil_div(job.out, GK_PANEL), gk_tiles_here()->winograd_pack, &job);
}

void gk_winograd_unpack(const gk_convolution *s, int threads, const float *partial, int64_t chunks,
                        int64_t stride, float *weights) {
  gk_winograd_weights_job job = {s->filters, s->channels, 9 * s->channels, 9,     0,
                                 partial,    weights,     chunks,          stride};
  gk_parallel_for(threads, gk_ceil_div(job.out, GK_PANEL), gk_tiles_here()->winograd_unpack, &job);
}
