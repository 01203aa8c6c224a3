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

/* The vectors of a pixel that such a pass takes: `count` of them, of `taken` channels. The last
 * begins at channel `last`, and where channels are no multiple of LANES it takes some that the one
 * before it has taken too, to the same bits. (A pass that writes what it reads loads all of a
 * pixel's vectors before it stores the first.) */
typedef struct pixel_vectors {
  int count;
  int64_t taken, last;
} pixel_vectors;

/* The next vectors, of `left` channels: none of fewer than LANES, and never so many that fewer than
 * LANES are left. */
INLINE pixel_vectors next_vectors(int64_t left) {
  int64_t count = gk_ceil_div(left, LANES), taken = left;
  if (count > WIDE) {
    count = count == WIDE + 1 && left % LANES != 0 ? WIDE - 1 : WIDE;
    taken = count * LANES;
  }
  return (pixel_vectors){left < LANES ? 0 : (int)count, taken, taken - LANES};
}

/* Calls LOOP(v, c, last) for all vectors of a pixel's channels, v a constant and c the first of
 * their channels, and leaves in c how many channels are done. */
#define OVER_VECTORS(c, channels, LOOP)                                 \
  for (pixel_vectors some = next_vectors((channels)-c); some.count > 0; \
       c += some.taken, some = next_vectors((channels)-c))              \
    switch (some.count) {                                               \
      case 1:                                                           \
        LOOP(1, c, some.last);                                          \
        break;                                                          \
      case 2:                                                           \
        LOOP(2, c, some.last);                                          \
        break;                                                          \
      case 3:                                                           \
        LOOP(3, c, some.last);                                          \
        break;                                                          \
      default:                                                          \
        LOOP(WIDE, c, some.last);                                       \
    }

/* The channel that vector i of v begins at. */
#define VECTOR(i) ((i) < v - 1 ? (i)*LANES : last)

/* Floats from the first that a view reads to its number `at`, or to the one before it; from a number
 * to one `at` further. (To ask for: ask_for.) */
INLINE int64_t view_floats(const gk_view *view, int64_t at) { return view->halves ? at / 2 : at; }

INLINE void read_view_lanes(const int v, const int halves, int64_t last, int64_t c, float *to,
                            int64_t to_step, const gk_view *view, int64_t from, int64_t from_step,
                            int64_t pixels, int64_t at) {
  to += c, from += c, at += c;
  vf scale[WIDE], shift[WIDE];
  UNROLL for (int i = 0; i < v; ++i) {
    scale[i] = view->scale ? load(view->scale + at + VECTOR(i)) : splat(1);
    shift[i] = view->scale ? load(view->shift + at + VECTOR(i)) : splat(0);
  }
  float slope = view->slope, ceiling = view_ceiling(view);
  for (int64_t p = 0; p < pixels; ++p) {
    vf x[WIDE];
    UNROLL for (int i = 0; i < v; ++i) x[i] =
        load_any(halves, view->x, from + p * from_step + VECTOR(i));
    UNROLL for (int i = 0; i < v; ++i)
        store(to + p * to_step + VECTOR(i), cap(x[i] * scale[i] + shift[i], slope, ceiling));
  }
}

/* Copies `pixels` pixels of `channels` channels, beginning with number `from` of what the view
 * shows, `from_step` and `to_step` from one to the next. `at` is the channel that the view's scale
 * and shift start from. */
static void read_view(float *to, int64_t to_step, const gk_view *view, int64_t from,
                      int64_t from_step, int64_t pixels, int64_t channels, int64_t at) {
  if (view->scale == NULL && view->slope == 1 && !view->halves) {
    const float *x = view->x + from;
    if (from_step == channels && to_step == channels) {
      memcpy(to, x, (size_t)(pixels * channels) * sizeof(float));
    } else {
      for (int64_t p = 0; p < pixels; ++p)
        memcpy(to + p * to_step, x + p * from_step, (size_t)channels * sizeof(float));
    }
    return;
  }
  int64_t c = 0;
#define LOOP(V, C, LAST) \
  read_view_lanes(V, 0, LAST, C, to, to_step, view, from, from_step, pixels, at)
#define HALVES(V, C, LAST) \
  read_view_lanes(V, 1, LAST, C, to, to_step, view, from, from_step, pixels, at)
  if (view->halves)
    OVER_VECTORS(c, channels, HALVES)
  else
    OVER_VECTORS(c, channels, LOOP)
#undef LOOP
#undef HALVES
  for (; c < channels; ++c) {
    float scale = view->scale ? view->scale[at + c] : 1;
    float shift = view->scale ? view->shift[at + c] : 0;
    for (int64_t p = 0; p < pixels; ++p)
      to[p * to_step + c] = view_value(
          view, number_at(view->halves, view->x, from + p * from_step + c) * scale + shift);
  }
}

INLINE void read_gradient_lanes(const int v, const int halves, int64_t last, int64_t first,
                                float *to, int64_t to_step, const gk_gradient_view *view,
                                int64_t from, int64_t from_step, int64_t pixels, int64_t at) {
  to += first, from += first, at += first;
  const gk_view *value = &view->value;
  vf scale[WIDE], shift[WIDE], a[WIDE], b[WIDE], o[WIDE];
  UNROLL for (int i = 0; i < v; ++i) {
    int64_t c = at + VECTOR(i);
    scale[i] = value->scale ? load(value->scale + c) : splat(1);
    shift[i] = value->scale ? load(value->shift + c) : splat(0);
    a[i] = view->a ? load(view->a + c) : splat(1);
    b[i] = view->a ? load(view->b + c) : splat(0);
    o[i] = view->a ? load(view->c + c) : splat(0);
  }
  float slope = value->slope, ceiling = view_ceiling(value);
  for (int64_t p = 0; p < pixels; ++p) {
    vf xs[WIDE], gs[WIDE];
    UNROLL for (int i = 0; i < v; ++i) {
      xs[i] = load_any(halves, value->x, from + p * from_step + VECTOR(i));
      gs[i] = load(view->g + from + p * from_step + VECTOR(i));
    }
    UNROLL for (int i = 0; i < v; ++i) {
      vf m = uncap(xs[i] * scale[i] + shift[i], gs[i], slope, ceiling);
      store(to + p * to_step + VECTOR(i), a[i] * m + (b[i] * xs[i] + o[i]));
    }
  }
}

/* The same for a gradient. */
static void read_gradient(float *to, int64_t to_step, const gk_gradient_view *view, int64_t from,
                          int64_t from_step, int64_t pixels, int64_t channels, int64_t at) {
  const gk_view *value = &view->value;
  if (view->a == NULL && value->slope == 1) {
    read_view(to, to_step, &(gk_view){.x = view->g, .slope = 1}, from, from_step, pixels, channels,
              at);
    return;
  }
  int64_t c = 0;
#define LOOP(V, C, LAST) \
  read_gradient_lanes(V, 0, LAST, C, to, to_step, view, from, from_step, pixels, at)
#define HALVES(V, C, LAST) \
  read_gradient_lanes(V, 1, LAST, C, to, to_step, view, from, from_step, pixels, at)
  if (value->halves)
    OVER_VECTORS(c, channels, HALVES)
  else
    OVER_VECTORS(c, channels, LOOP)
#undef LOOP
#undef HALVES
  for (; c < channels; ++c) {
    float scale = value->scale ? value->scale[at + c] : 1;
    float shift = value->scale ? value->shift[at + c] : 0;
    float a = view->a ? view->a[at + c] : 1, b = view->a ? view->b[at + c] : 0;
    float o = view->a ? view->c[at + c] : 0;
    for (int64_t p = 0; p < pixels; ++p) {
      int64_t k = from + p * from_step + c;
      float xv = number_at(value->halves, value->x, k), gv = view->g[k];
      float m = view_gradient(value, xv * scale + shift, gv);
      to[p * to_step + c] = a * m + (b * xv + o);
    }
  }
}
