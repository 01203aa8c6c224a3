/* The statistics that a batch norm needs of what a tile has just written. Included by tiles_*.c. */

INLINE void moments_lanes(const int v, const float *x, int64_t pixels, int64_t step, float *mean,
                          float *squares) {
  float share = 1 / (float)pixels;
  vf s[WIDE][2], q[WIDE][2], m[WIDE];
  UNROLL for (int i = 0; i < v; ++i) s[i][0] = s[i][1] = q[i][0] = q[i][1] = splat(0);
  int64_t p = 0;
  for (; p + 2 <= pixels; p += 2) UNROLL for (int i = 0; i < v; ++i) {
      s[i][0] += load(x + p * step + i * LANES);
      s[i][1] += load(x + (p + 1) * step + i * LANES);
    }
  for (; p < pixels; ++p)
    UNROLL for (int i = 0; i < v; ++i) s[i][0] += load(x + p * step + i * LANES);
  UNROLL for (int i = 0; i < v; ++i) m[i] = (s[i][0] + s[i][1]) * share;
  for (p = 0; p + 2 <= pixels; p += 2) UNROLL for (int i = 0; i < v; ++i) {
      vf d = load(x + p * step + i * LANES) - m[i];
      vf e = load(x + (p + 1) * step + i * LANES) - m[i];
      q[i][0] += d * d;
      q[i][1] += e * e;
    }
  for (; p < pixels; ++p) UNROLL for (int i = 0; i < v; ++i) {
      vf d = load(x + p * step + i * LANES) - m[i];
      q[i][0] += d * d;
    }
  UNROLL for (int i = 0; i < v; ++i) {
    store(mean + i * LANES, m[i]);
    store(squares + i * LANES, q[i][0] + q[i][1]);
  }
}

/* Mean and sum of squared deviations of every channel over `pixels` pixels, `step` floats apart. */
static void moments(const float *x, int64_t pixels, int64_t channels, int64_t step, float *mean,
                    float *squares) {
  int64_t c = 0;
  for (; c + WIDE * LANES <= channels; c += WIDE * LANES)
    moments_lanes(WIDE, x + c, pixels, step, mean + c, squares + c);
  for (; c + LANES <= channels; c += LANES)
    moments_lanes(1, x + c, pixels, step, mean + c, squares + c);
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
