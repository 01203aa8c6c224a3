/* The gradient of the weights turns the forward loop round: sums are a block of weights, the walk
 * is over pixels. Included by tiles_*.c. */

/* The pixels of the walk: where the input's and the gradient's images, rows and pixels follow each
 * other, in floats. */
typedef struct weight_pixels {
  int64_t images, x_image, d_image;
  int64_t rows, x_row, d_row;
  int64_t columns, x_step, d_step;
  int fresh; /* nothing is there to be added to */
} weight_pixels;

#define WEIGHT_MICRO(V, J, PAIRED)                                                                 \
  static void weights_##V##_##J##_##PAIRED(const weight_pixels *p, const float *x, const float *d, \
                                           float *to, int64_t width) {                             \
    vf sums[J][V];                                                                                 \
    UNROLL for (int j = 0; j < J; ++j) UNROLL for (int v = 0; v < V; ++v) sums[j][v] = splat(0);   \
    for (int64_t image = 0; image < p->images; ++image) {                                          \
      for (int64_t r = 0; r < p->rows; ++r) {                                                      \
        const float *xs = x + image * p->x_image + r * p->x_row;                                   \
        const float *ds = d + image * p->d_image + r * p->d_row;                                   \
        for (int64_t c = 0; c < p->columns; ++c, xs += p->x_step, ds += p->d_step) {               \
          vf g[V];                                                                                 \
          UNROLL for (int v = 0; v < V; ++v) g[v] = load(ds + v * LANES);                          \
          UNROLL for (int j = 0; j < J; ++j) {                                                     \
            vf value = broadcast(PAIRED, xs + j);                                                  \
            UNROLL for (int v = 0; v < V; ++v) sums[j][v] = add(PAIRED, sums[j][v], value, g[v]);  \
          }                                                                                        \
        }                                                                                          \
      }                                                                                            \
    }                                                                                              \
    if (!p->fresh)                                                                                 \
      UNROLL for (int j = 0; j < J; ++j) UNROLL for (int v = 0; v < V; ++v) sums[j][v] +=          \
          load(to + j * width + v * LANES);                                                        \
    UNROLL for (int j = 0; j < J; ++j) UNROLL for (int v = 0; v < V; ++v)                          \
        store(to + j * width + v * LANES, sums[j][v]);                                             \
  }
#define WEIGHT_MICROS(V, J) WEIGHT_MICRO(V, J, 0) WEIGHT_MICRO(V, J, 1)

WEIGHT_MICROS(2, 4)
WEIGHT_MICROS(2, 1)
#if LANES == 16
WEIGHT_MICROS(2, 12)
WEIGHT_MICROS(2, 8)
WEIGHT_MICROS(1, 24)
WEIGHT_MICROS(1, 12)
WEIGHT_MICROS(1, 16)
WEIGHT_MICROS(1, 8)
WEIGHT_MICROS(1, 1)
#endif
