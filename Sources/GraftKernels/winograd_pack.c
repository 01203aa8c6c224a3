/* Weights of a 3 x 3 kernel to Winograd's 16 positions, and their gradient back. */
#include "winograd_pack.h"

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

void gk_winograd_pack(const gk_convolution *s, const float *weights, float *packed) {
  pack(s->filters, s->channels, 9 * s->channels, 9, 0, weights, packed);
}

void gk_winograd_pack_backward(const gk_convolution *s, const float *weights, float *packed) {
  pack(s->channels, s->filters, 9, 9 * s->channels, 1, weights, packed);
}

void gk_winograd_unpack(const gk_convolution *s, int64_t lane, const float *partial, int64_t chunks,
                        int64_t stride, float *weights) {
  int64_t width = gk_panel_width(lane, s->filters);
  for (int64_t c = 0; c < s->channels; ++c) {
    float sums[GK_POSITIONS][GK_PANEL];
    for (int64_t p = 0; p < GK_POSITIONS; ++p) {
      const float *from = partial + (p * s->filters + lane) * s->channels + c * width;
      for (int64_t l = 0; l < width; ++l) sums[p][l] = from[l];
      for (int64_t chunk = 1; chunk < chunks; ++chunk)
        for (int64_t l = 0; l < width; ++l) sums[p][l] += from[chunk * stride + l];
    }
    for (int64_t l = 0; l < width; ++l) {
      float rows[3][4], *to = weights + ((lane + l) * s->channels + c) * 9;
      for (int j = 0; j < 4; ++j) {
        float a = sums[j][l], b = 0.5f * sums[4 + j][l], d = 0.5f * sums[8 + j][l];
        rows[0][j] = a + (b + d), rows[1][j] = b - d, rows[2][j] = sums[12 + j][l] + (b + d);
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
