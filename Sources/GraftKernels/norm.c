#include "graft_norm.h"

#include "tiles.h"

void gk_norm_moments(int threads, const float *x, float *statistics, int64_t pixels,
                     int64_t channels) {
  gk_reduce_job job = {
      {x, {NULL, NULL, NULL, 1, 0}, NULL, NULL, NULL}, NULL, statistics, pixels, channels};
  gk_parallel_for(threads, gk_pixel_tiles(pixels, channels), gk_tiles_here()->moments, &job);
}

void gk_norm_join(const float *statistics, int64_t tiles, int64_t period, const int64_t sizes[2],
                  int64_t channels, double *mean, double *variance) {
  for (int64_t c = 0; c < channels; ++c) mean[c] = variance[c] = 0;
  double count = 0;
  for (int64_t t = 0; t < tiles; ++t) {
    const float *m = statistics + t * 2 * channels, *q = m + channels;
    double size = (double)sizes[t % period == period - 1], total = count + size;
    double share = size / total, cross = count * share;
    for (int64_t c = 0; c < channels; ++c) {
      double delta = m[c] - mean[c];
      mean[c] += delta * share;
      variance[c] += q[c] + delta * delta * cross;
    }
    count = total;
  }
  for (int64_t c = 0; c < channels; ++c) variance[c] /= count;
}

void gk_norm_reduce(int threads, gk_gradient_view gradient, const float *mean, float *sums,
                    int64_t pixels, int64_t channels) {
  gk_reduce_job job = {gradient, mean, sums, pixels, channels};
  gk_parallel_for(threads, gk_pixel_tiles(pixels, channels), gk_tiles_here()->reduce, &job);
}

void gk_norm_backward(const float *sums, int64_t tiles, int64_t pixels, int64_t channels,
                      const float *weight, const float *mean, const float *deviation,
                      float *weight_gradient, float *bias_gradient, float *a, float *b, float *c) {
  enum { block = 64 };
  double all[block], crosses[block];
  for (int64_t i = 0; i < channels; ++i) {
    if (i % block == 0) { /* in the order in which they lie */
      int64_t many = gk_min(block, channels - i);
      for (int64_t k = 0; k < many; ++k) all[k] = crosses[k] = 0;
      for (int64_t t = 0; t < tiles; ++t) {
        const float *its = sums + t * 2 * channels + i;
        for (int64_t k = 0; k < many; ++k) all[k] += its[k], crosses[k] += its[channels + k];
      }
    }
    double sum = all[i % block], cross = crosses[i % block];
    double r = deviation[i], along = cross * r; /* sum of m times the normalised x */
    weight_gradient[i] = (float)along;
    bias_gradient[i] = (float)sum;
    /* dx = w r (m - sum / n - (x - mean) r along / n) = a m + b x + c */
    double da = weight[i] * r, db = -da * r * along / (double)pixels;
    a[i] = (float)da;
    b[i] = (float)db;
    c[i] = (float)(-da * sum / (double)pixels - db * mean[i]);
  }
}
