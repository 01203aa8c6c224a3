/* Weights of a 3 x 3 kernel to Winograd's 16 positions, and their gradient back. */
#include "winograd_pack.h"

#include <string.h>

/* Channels whose sums are joined at once. */
#define TOGETHER 8

/* G g G' of nine vectors of `width` lanes. */
static void transform(const float g[9][GK_PANEL], int64_t width, float to[GK_POSITIONS][GK_PANEL]) {
  for (int64_t l = 0; l < width; ++l) {
    float rows[4][3];
    for (int j = 0; j < 3; ++j) {
      float a = g[j][l], b = g[3 + j][l], c = g[6 + j][l];
      rows[0][j] = a, rows[3][j] = c;
      rows[1][j] = 0.5f * ((a + c) + b), rows[2][j] = 0.5f * ((a + c) - b);
    }
    for (int i = 0; i < 4; ++i) {
      float a = rows[i][0], b = rows[i][1], c = rows[i][2];
      to[4 * i + 0][l] = a, to[4 * i + 3][l] = c;
      to[4 * i + 1][l] = 0.5f * ((a + c) + b), to[4 * i + 2][l] = 0.5f * ((a + c) - b);
    }
  }
}

/* out: channels that the packed weights make, in: those that they take. */
static void pack(int64_t out, int64_t in, int64_t out_stride, int64_t in_stride, int flipped,
                 const float *weights, float *packed) {
  for (int64_t lane = 0; lane < out; lane += GK_PANEL) {
    int64_t width = gk_panel_width(lane, out);
    for (int64_t c = 0; c < in; ++c) {
      float g[9][GK_PANEL], to[GK_POSITIONS][GK_PANEL];
      for (int64_t l = 0; l < width; ++l)
        for (int t = 0; t < 9; ++t)
          g[flipped ? 8 - t : t][l] = weights[(lane + l) * out_stride + c * in_stride + t];
      transform((const float(*)[GK_PANEL])g, width, to);
      for (int64_t p = 0; p < GK_POSITIONS; ++p)
        for (int64_t l = 0; l < width; ++l)
          packed[(p * out + lane) * in + c * width + l] = to[p][l];
    }
  }
}

void gk_winograd_pack(const gk_convolution *s, int threads, const float *weights, float *packed) {
  (void)threads;
  pack(s->filters, s->channels, 9 * s->channels, 9, 0, weights, packed);
}

void gk_winograd_pack_backward(const gk_convolution *s, int threads, const float *weights,
                               float *packed) {
  (void)threads;
  pack(s->channels, s->filters, 9, 9 * s->channels, 1, weights, packed);
}

void gk_winograd_unpack(const gk_convolution *s, int64_t lane, const float *partial, int64_t chunks,
                        int64_t stride, float *weights) {
  int64_t width = gk_panel_width(lane, s->filters);
  /* A few channels at once, whose sums lie next to each other in a chunk's. */
  float sums[GK_POSITIONS][TOGETHER * GK_PANEL];
  for (int64_t c = 0; c < s->channels; ++c) {
    if (c % TOGETHER == 0) {
      int64_t count = TOGETHER * width; /* channels are a multiple of 16 */
      for (int64_t p = 0; p < GK_POSITIONS; ++p) {
        const float *from = partial + (p * s->filters + lane) * s->channels + c * width;
        memcpy(sums[p], from, (size_t)count * sizeof(float));
        for (int64_t chunk = 1; chunk < chunks; ++chunk)
          for (int64_t l = 0; l < count; ++l) sums[p][l] += from[chunk * stride + l];
      }
    }
    for (int64_t l = 0; l < width; ++l) {
      float rows[3][4], *to = weights + ((lane + l) * s->channels + c) * 9;
      const float *sum = &sums[0][c % TOGETHER * width + l];
      const int64_t step = TOGETHER * GK_PANEL; /* to the next position's */
      for (int j = 0; j < 4; ++j) {
        float a = sum[j * step], b = 0.5f * sum[(4 + j) * step], d = 0.5f * sum[(8 + j) * step];
        rows[0][j] = a + (b + d), rows[1][j] = b - d, rows[2][j] = sum[(12 + j) * step] + (b + d);
      }
      for (int i = 0; i < 3; ++i) {
        float b = 0.5f * rows[i][1], d = 0.5f * rows[i][2];
        to[3 * i + 0] = rows[i][0] + (b + d);
        to[3 * i + 1] = b - d;
        to[3 * i + 2] = rows[i][3] + (b + d);
      }
    }
  }
}
