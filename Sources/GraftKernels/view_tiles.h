/* Copying pixels through a view: what lies between one convolution and the next (batch norm,
 * rectifier) is done on the way. Included by tiles_*.c. */

INLINE vf rectify(vf v, float slope) { return choose(v > splat(0), v, v * slope); }

INLINE float view_ceiling(const gk_view *view) {
  return view->ceiling > 0 ? view->ceiling : INFINITY;
}

/* A view's value, scaled and shifted already. Not a number stays what it is. */
INLINE vf cap(vf v, float slope, float ceiling) {
  v = rectify(v, slope);
  return choose(v > splat(ceiling), splat(ceiling), v);
}

INLINE float view_value(const gk_view *view, float v) {
  v = v > 0 ? v : v * view->slope;
  return v > view_ceiling(view) ? view->ceiling : v;
}

/* The gradient before the rectifier, of a view whose value before it is v. */
INLINE vf uncap(vf v, vf g, float slope, float ceiling) {
  g = choose(v > splat(0), g, g * slope);
  return choose(v < splat(ceiling), g, splat(0));
}

INLINE float view_gradient(const gk_view *view, float v, float g) {
  g = v > 0 ? g : g * view->slope;
  return v < view_ceiling(view) ? g : 0;
}

/* Vectors of channels that a pass over pixels takes at once: their constants stay in registers, and
 * a pixel gives whole neighbouring cache lines. */
#define WIDE 4

INLINE void read_view_lanes(const int v, float *to, int64_t to_step, const gk_view *view,
                            const float *from, int64_t from_step, int64_t pixels, int64_t at) {
  vf scale[WIDE], shift[WIDE];
  UNROLL for (int i = 0; i < v; ++i) {
    scale[i] = view->scale ? load(view->scale + at + i * LANES) : splat(1);
    shift[i] = view->scale ? load(view->shift + at + i * LANES) : splat(0);
  }
  float slope = view->slope, ceiling = view_ceiling(view);
  for (int64_t p = 0; p < pixels; ++p)
    UNROLL for (int i = 0; i < v; ++i)
        store(to + p * to_step + i * LANES,
              cap(load(from + p * from_step + i * LANES) * scale[i] + shift[i], slope, ceiling));
}

/* Copies `pixels` pixels of `channels` channels, `from_step` and `to_step` floats from one to the
 * next. `at` is the channel that the view's scale and shift start from. */
static void read_view(float *to, int64_t to_step, const gk_view *view, const float *from,
                      int64_t from_step, int64_t pixels, int64_t channels, int64_t at) {
  if (view->scale == NULL && view->slope == 1) {
    if (from_step == channels && to_step == channels) {
      memcpy(to, from, (size_t)(pixels * channels) * sizeof(float));
    } else {
      for (int64_t p = 0; p < pixels; ++p)
        memcpy(to + p * to_step, from + p * from_step, (size_t)channels * sizeof(float));
    }
    return;
  }
  int64_t c = 0;
  for (; c + WIDE * LANES <= channels; c += WIDE * LANES)
    read_view_lanes(WIDE, to + c, to_step, view, from + c, from_step, pixels, at + c);
  for (; c + LANES <= channels; c += LANES)
    read_view_lanes(1, to + c, to_step, view, from + c, from_step, pixels, at + c);
  for (; c < channels; ++c) {
    float scale = view->scale ? view->scale[at + c] : 1;
    float shift = view->scale ? view->shift[at + c] : 0;
    for (int64_t p = 0; p < pixels; ++p)
      to[p * to_step + c] = view_value(view, from[p * from_step + c] * scale + shift);
  }
}

INLINE void read_gradient_lanes(const int v, float *to, int64_t to_step,
                                const gk_gradient_view *view, const float *g, const float *x,
                                int64_t from_step, int64_t pixels, int64_t at) {
  const gk_view *value = &view->value;
  vf scale[WIDE], shift[WIDE], a[WIDE], b[WIDE], o[WIDE];
  UNROLL for (int i = 0; i < v; ++i) {
    int64_t c = at + i * LANES;
    scale[i] = value->scale ? load(value->scale + c) : splat(1);
    shift[i] = value->scale ? load(value->shift + c) : splat(0);
    a[i] = view->a ? load(view->a + c) : splat(1);
    b[i] = view->a ? load(view->b + c) : splat(0);
    o[i] = view->a ? load(view->c + c) : splat(0);
  }
  float slope = value->slope, ceiling = view_ceiling(value);
  for (int64_t p = 0; p < pixels; ++p) UNROLL for (int i = 0; i < v; ++i) {
      vf xv = load(x + p * from_step + i * LANES), gv = load(g + p * from_step + i * LANES);
      vf m = uncap(xv * scale[i] + shift[i], gv, slope, ceiling);
      store(to + p * to_step + i * LANES, a[i] * m + (b[i] * xv + o[i]));
    }
}

/* The same for a gradient: g and x of `pixels` pixels, both `from_step` floats apart. */
static void read_gradient(float *to, int64_t to_step, const gk_gradient_view *view, const float *g,
                          const float *x, int64_t from_step, int64_t pixels, int64_t channels,
                          int64_t at) {
  const gk_view *value = &view->value;
  if (view->a == NULL && value->slope == 1) {
    read_view(to, to_step, &(gk_view){g, NULL, NULL, 1, 0}, g, from_step, pixels, channels, at);
    return;
  }
  int64_t c = 0;
  for (; c + WIDE * LANES <= channels; c += WIDE * LANES)
    read_gradient_lanes(WIDE, to + c, to_step, view, g + c, x + c, from_step, pixels, at + c);
  for (; c + LANES <= channels; c += LANES)
    read_gradient_lanes(1, to + c, to_step, view, g + c, x + c, from_step, pixels, at + c);
  for (; c < channels; ++c) {
    float scale = value->scale ? value->scale[at + c] : 1;
    float shift = value->scale ? value->shift[at + c] : 0;
    float a = view->a ? view->a[at + c] : 1, b = view->a ? view->b[at + c] : 0;
    float o = view->a ? view->c[at + c] : 0;
    for (int64_t p = 0; p < pixels; ++p) {
      float xv = x[p * from_step + c], gv = g[p * from_step + c];
      float m = view_gradient(value, xv * scale + shift, gv);
      to[p * to_step + c] = a * m + (b * xv + o);
    }
  }
}
