/* The gradient of the weights turns the forward loop round: sums are a block of weights, the walk
 * is over pixels. Included by tiles_*.c. */

#define WEIGHT_MICRO(V, J)                                                                       \
  static void weights_##V##_##J(const float *x, int64_t x_row, int64_t x_step, const float *d,   \
                                int64_t d_row, int64_t d_step, int64_t rows, int64_t columns,    \
                                float *to, int64_t width) {                                      \
    vf sums[J][V];                                                                               \
    UNROLL for (int j = 0; j < J; ++j) UNROLL for (int v = 0; v < V; ++v) sums[j][v] = splat(0); \
    for (int64_t r = 0; r < rows; ++r) {                                                         \
      const float *xs = x + r * x_row, *ds = d + r * d_row;                                      \
      for (int64_t c = 0; c < columns; ++c, xs += x_step, ds += d_step) {                        \
        vf g[V];                                                                                 \
        UNROLL for (int v = 0; v < V; ++v) g[v] = load(ds + v * LANES);                          \
        UNROLL for (int j = 0; j < J; ++j) {                                                     \
          vf value = splat(xs[j]);                                                               \
          UNROLL for (int v = 0; v < V; ++v) sums[j][v] += value * g[v];                         \
        }                                                                                        \
      }                                                                                          \
    }                                                                                            \
    UNROLL for (int j = 0; j < J; ++j) UNROLL for (int v = 0; v < V; ++v)                        \
        store(to + j * width + v * LANES, load(to + j * width + v * LANES) + sums[j][v]);        \
  }

WEIGHT_MICRO(2, 4)
WEIGHT_MICRO(2, 1)
#if LANES == 16
WEIGHT_MICRO(2, 12)
WEIGHT_MICRO(2, 8)
WEIGHT_MICRO(1, 24)
WEIGHT_MICRO(1, 16)
WEIGHT_MICRO(1, 8)
WEIGHT_MICRO(1, 1)
#endif
