/* The statistics that a batch norm needs of what a tile has just written, forward and backward.
 * Included by tiles_*.c. */

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

/* ---- backward: the sums of m and of m (x - mean), m the gradient before the rectifier ---- */

/* What is summed: the gradient with respect to a view's value, and what the view shows, from its
 * number x on. */
typedef struct summed {
  const float *g;
  int64_t x;
  int64_t g_step, x_step, pixels;
  const gk_view *value;
  const float *mean;
} summed;

INLINE void gradient_sums_lanes(const int v, const int halves, int64_t last, const summed *from,
                                int64_t c, int64_t at, int adds, float *sums, float *cross) {
  const gk_view *value = from->value;
  int64_t end = from->pixels;
  int rectified = value->slope != 1;
  float ceiling = view_ceiling(value);
  vf scale[WIDE], shift[WIDE], mean[WIDE], s[WIDE][2], q[WIDE][2];
  UNROLL for (int i = 0; i < v; ++i) {
    int64_t k = at + c + VECTOR(i);
    scale[i] = value->scale ? load(value->scale + k) : splat(1);
    shift[i] = value->scale ? load(value->shift + k) : splat(0);
    mean[i] = load(from->mean + k);
    s[i][0] = s[i][1] = q[i][0] = q[i][1] = splat(0);
  }
  for (int64_t p = 0; p < end; p += 2) UNROLL for (int k = 0; k < 2; ++k) {
      if (p + k >= end) break;
      int64_t x = from->x + (p + k) * from->x_step + c;
      const float *g = from->g + (p + k) * from->g_step + c;
      UNROLL for (int i = 0; i < v; ++i) {
        vf xv = load_any(halves, value->x, x + VECTOR(i)), m = load(g + VECTOR(i));
        if (rectified) m = uncap(xv * scale[i] + shift[i], m, value->slope, ceiling);
        s[i][k] += m;
        q[i][k] += m * (xv - mean[i]);
      }
    }
  vf sum[WIDE], product[WIDE];
  UNROLL for (int i = 0; i < v; ++i) {
    sum[i] = s[i][0] + s[i][1], product[i] = q[i][0] + q[i][1];
    if (!adds) continue;
    sum[i] += load(sums + c + VECTOR(i));
    product[i] += load(cross + c + VECTOR(i));
  }
  UNROLL for (int i = 0; i < v; ++i) {
    store(sums + c + VECTOR(i), sum[i]);
    store(cross + c + VECTOR(i), product[i]);
  }
}

/* Writes the sums of `channels` channels or, where `adds`, adds them to what is there. `at` is the
 * channel that the view's constants and the means start from. */
static void gradient_sums(const summed *from, int64_t channels, int64_t at, int adds, float *sums,
                          float *cross) {
  const gk_view *value = from->value;
  int64_t c = 0;
#define LOOP(V, C, LAST) gradient_sums_lanes(V, 0, LAST, from, C, at, adds, sums, cross)
#define HALVES(V, C, LAST) gradient_sums_lanes(V, 1, LAST, from, C, at, adds, sums, cross)
  if (value->halves)
    OVER_VECTORS(c, channels, HALVES)
  else
    OVER_VECTORS(c, channels, LOOP)
#undef LOOP
#undef HALVES
  for (; c < channels; ++c) {
    float scale = value->scale ? value->scale[at + c] : 1;
    float shift = value->scale ? value->shift[at + c] : 0;
    float s[2] = {0, 0}, q[2] = {0, 0};
    for (int64_t p = 0; p < from->pixels; ++p) {
      float xv = number_at(value->halves, value->x, from->x + p * from->x_step + c);
      float m = from->g[p * from->g_step + c];
      if (value->slope != 1) m = view_gradient(value, xv * scale + shift, m);
      s[p % 2] += m, q[p % 2] += m * (xv - from->mean[at + c]);
    }
    sums[c] = (adds ? sums[c] : 0) + (s[0] + s[1]);
    cross[c] = (adds ? cross[c] : 0) + (q[0] + q[1]);
  }
}
