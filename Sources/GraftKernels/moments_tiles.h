/* The statistics that a batch norm needs of what a tile has just written. Included by tiles_*.c. */

INLINE void moments_lanes(const int v, int64_t last, const float *x, int64_t pixels, int64_t step,
                          float *mean, float *squares) {
  float share = 1 / (float)pixels;
  vf s[WIDE][2], q[WIDE][2], m[WIDE];
  UNROLL for (int i = 0; i < v; ++i) s[i][0] = s[i][1] = q[i][0] = q[i][1] = splat(0);
  int64_t p = 0;
  for (; p + 2 <= pixels; p += 2) UNROLL for (int i = 0; i < v; ++i) {
      s[i][0] += load(x + p * step + VECTOR(i));
      s[i][1] += load(x + (p + 1) * step + VECTOR(i));
    }
  for (; p < pixels; ++p)
    UNROLL for (int i = 0; i < v; ++i) s[i][0] += load(x + p * step + VECTOR(i));
  UNROLL for (int i = 0; i < v; ++i) m[i] = (s[i][0] + s[i][1]) * share;
  for (p = 0; p + 2 <= pixels; p += 2) UNROLL for (int i = 0; i < v; ++i) {
      vf d = load(x + p * step + VECTOR(i)) - m[i];
      vf e = load(x + (p + 1) * step + VECTOR(i)) - m[i];
      q[i][0] += d * d;
      q[i][1] += e * e;
    }
  for (; p < pixels; ++p) UNROLL for (int i = 0; i < v; ++i) {
      vf d = load(x + p * step + VECTOR(i)) - m[i];
      q[i][0] += d * d;
    }
  UNROLL for (int i = 0; i < v; ++i) {
    store(mean + VECTOR(i), m[i]);
    store(squares + VECTOR(i), q[i][0] + q[i][1]);
  }
}

/* Mean and sum of squared deviations of every channel over `pixels` pixels, `step` floats apart. */
static void moments(const float *x, int64_t pixels, int64_t channels, int64_t step, float *mean,
                    float *squares) {
  int64_t c = 0;
#define LOOP(V, C, LAST) moments_lanes(V, LAST, x + C, pixels, step, mean + C, squares + C)
  OVER_VECTORS(c, channels, LOOP)
#undef LOOP
  for (; c < channels; ++c) {
    float s[2] = {0, 0}, q[2] = {0, 0};
    int64_t p = 0;
    for (; p + 2 <= pixels; p += 2) s[0] += x[p * step + c], s[1] += x[(p + 1) * step + c];
    for (; p < pixels; ++p) s[0] += x[p * step + c];
    float m = (s[0] + s[1]) * (1 / (float)pixels);
    for (p = 0; p + 2 <= pixels; p += 2) {
      float d = x[p * step + c] - m, e = x[(p + 1) * step + c] - m;
      q[0] += d * d, q[1] += e * e;
    }
    for (; p < pixels; ++p) {
      float d = x[p * step + c] - m;
      q[0] += d * d;
    }
    mean[c] = m, squares[c] = q[0] + q[1];
  }
}
