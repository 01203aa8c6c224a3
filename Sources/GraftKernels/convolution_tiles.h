/* The convolution's inner loops, for vectors of LANES floats. Included by tiles_*.c.
 *
 * Forward: a quad is four neighbouring output pixels of a row. MICRO(v, q) holds 4q x v vectors of
 * sums in registers, walks a panel's weights once, and for each weight vector broadcasts the 4q
 * inputs that it meets. The gradient of the input is the same loop over other runs. The gradient of
 * the weights turns it round: sums are a block of weights, the walk is over pixels. */

typedef float vf __attribute__((vector_size(4 * LANES)));
typedef float vfu __attribute__((vector_size(4 * LANES), aligned(4)));
typedef int32_t vi __attribute__((vector_size(4 * LANES)));

#define INLINE static inline __attribute__((always_inline))

INLINE vf load(const float *p) { return *(const vfu *)p; }
INLINE void store(float *p, vf v) { *(vfu *)p = v; }
INLINE vf splat(float x) { return (vf){0} + x; }
INLINE vf choose(vi mask, vf yes, vf no) { return (vf)(((vi)yes & mask) | ((vi)no & ~mask)); }

/* ---- reading through a view ---------------------------------------------------------------- */

INLINE vf rectify(vf v, float slope) { return choose(v > splat(0), v, v * slope); }

/* Vectors of channels that a pass over pixels takes at once: their constants stay in registers, and a
 * pixel gives whole neighbouring cache lines. */
#define WIDE 4

INLINE void read_view_lanes(const int v, float *to, int64_t to_step, const gk_view *view,
                            const float *from, int64_t from_step, int64_t pixels, int64_t at) {
  vf scale[WIDE], shift[WIDE];
  UNROLL for (int i = 0; i < v; ++i) {
    scale[i] = view->scale ? load(view->scale + at + i * LANES) : splat(1);
    shift[i] = view->scale ? load(view->shift + at + i * LANES) : splat(0);
  }
  float slope = view->slope;
  for (int64_t p = 0; p < pixels; ++p)
    UNROLL for (int i = 0; i < v; ++i)
      store(to + p * to_step + i * LANES,
            rectify(load(from + p * from_step + i * LANES) * scale[i] + shift[i], slope));
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
    for (int64_t p = 0; p < pixels; ++p) {
      float v = from[p * from_step + c] * scale + shift;
      to[p * to_step + c] = v > 0 ? v : v * view->slope;
    }
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
  float slope = value->slope;
  for (int64_t p = 0; p < pixels; ++p)
    UNROLL for (int i = 0; i < v; ++i) {
      vf xv = load(x + p * from_step + i * LANES), gv = load(g + p * from_step + i * LANES);
      vf m = choose(xv * scale[i] + shift[i] > splat(0), gv, gv * slope);
      store(to + p * to_step + i * LANES, a[i] * m + (b[i] * xv + o[i]));
    }
}

/* The same for a gradient: g and x of `pixels` pixels, both `from_step` floats apart. */
static void read_gradient(float *to, int64_t to_step, const gk_gradient_view *view, const float *g,
                          const float *x, int64_t from_step, int64_t pixels, int64_t channels,
                          int64_t at) {
  const gk_view *value = &view->value;
  if (view->a == NULL && value->slope == 1) {
    read_view(to, to_step, &(gk_view){g, NULL, NULL, 1}, g, from_step, pixels, channels, at);
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
      float m = xv * scale + shift > 0 ? gv : gv * value->slope;
      to[p * to_step + c] = a * m + (b * xv + o);
    }
  }
}

/* Copies rows first to first + rows - 1 of an image's group into scratch, padded with zeros. */
static void copy_rows(float *to, const gk_convolution *s, const gk_view *view, int64_t image,
                      int64_t group, int64_t first, int64_t rows) {
  int64_t channels = s->channels / s->groups, width = gk_in_width(s), row = width * channels;
  int64_t left = gk_min(s->padding_width, width);
  int64_t inside = gk_max(0, gk_min(s->width, width - left));
  for (int64_t r = 0; r < rows; ++r, to += row) {
    int64_t y = first + r;
    if (y < 0 || y >= s->height) {
      memset(to, 0, (size_t)row * sizeof(float));
      continue;
    }
    memset(to, 0, (size_t)(left * channels) * sizeof(float));
    const float *from =
        view->x + ((image * s->height + y) * s->width) * s->channels + group * channels;
    read_view(to + left * channels, channels, view, from, s->channels, inside, channels,
              group * channels);
    memset(to + (left + inside) * channels, 0,
           (size_t)((width - left - inside) * channels) * sizeof(float));
  }
}

/* ---- four pixels a quad, one panel --------------------------------------------------------- */

#define MAX_QUADS 6
/* Products that are added up one after the other. A longer sum is made of several of these, which
 * keeps its rounding error as small as other libraries'. */
#define TERMS 512

typedef struct micro_job {
  const gk_runs *runs;
  const float *weights; /* [k][width] */
  int64_t width;        /* floats from k to k + 1 */
  int64_t in_step;      /* floats from an output pixel's base to the next one's */
  const float *init;    /* bias of these lanes, or NULL */
  int accumulate;       /* add to what is there */
  int64_t out_step;     /* floats from an output pixel to the next one in its quad */
} micro_job;

#define MICRO(V, Q, LONG)                                                                         \
  static void micro_##V##_##Q##_##LONG(const micro_job *job, const float *const *in,              \
                                       float *const *out) {                                       \
    vf sums[4 * Q][V];                                                                            \
    int64_t step = job->in_step, out_step = job->out_step;                                        \
    UNROLL for (int p = 0; p < 4 * Q; ++p) {                                                      \
      UNROLL for (int v = 0; v < V; ++v) {                                                        \
        sums[p][v] = splat(0);                                                                    \
        if (job->init != NULL) sums[p][v] = load(job->init + v * LANES);                          \
        if (job->accumulate)                                                                      \
          sums[p][v] += load(out[p / 4] + (p % 4) * out_step + v * LANES);                        \
      }                                                                                           \
    }                                                                                             \
    vf totals[LONG ? 4 * Q : 1][V];                                                               \
    int64_t terms = 0;                                                                            \
    if (LONG) memset(totals, 0, sizeof totals);                                                   \
    const float *weights = job->weights;                                                          \
    for (int64_t run = 0; run < job->runs->count; ++run) {                                        \
      const float *base[Q];                                                                       \
      UNROLL for (int q = 0; q < Q; ++q) base[q] = in[q] + job->runs->offset[run];                \
      for (int64_t left = job->runs->length; left > 0;) {                                         \
        int64_t some = LONG ? gk_min(left, TERMS) : left;                                         \
        for (int64_t k = 0; k < some; ++k) {                                                      \
          vf w[V];                                                                                \
          UNROLL for (int v = 0; v < V; ++v) w[v] = load(weights + v * LANES);                    \
          UNROLL for (int p = 0; p < 4 * Q; ++p) {                                                \
            vf x = splat(base[p / 4][(p % 4) * step]);                                            \
            UNROLL for (int v = 0; v < V; ++v) sums[p][v] += x * w[v];                            \
          }                                                                                       \
          UNROLL for (int q = 0; q < Q; ++q) base[q] += 1;                                        \
          weights += job->width;                                                                  \
        }                                                                                         \
        left -= some;                                                                             \
        if (LONG && (terms += some) >= TERMS) {                                                   \
          UNROLL for (int p = 0; p < 4 * Q; ++p) {                                                \
            UNROLL for (int v = 0; v < V; ++v) {                                                  \
              totals[LONG ? p : 0][v] += sums[p][v];                                              \
              sums[p][v] = splat(0);                                                              \
            }                                                                                     \
          }                                                                                       \
          terms = 0;                                                                              \
        }                                                                                         \
      }                                                                                           \
    }                                                                                             \
    UNROLL for (int p = 0; p < 4 * Q; ++p) {                                                      \
      UNROLL for (int v = 0; v < V; ++v)                                                          \
        store(out[p / 4] + (p % 4) * out_step + v * LANES,                                        \
              LONG ? totals[LONG ? p : 0][v] + sums[p][v] : sums[p][v]);                          \
    }                                                                                             \
  }
#define MICROS(V, Q) MICRO(V, Q, 0) MICRO(V, Q, 1)

MICROS(2, 1)
#if LANES == 16
MICROS(2, 3)
MICROS(1, 6)
MICROS(1, 4)
MICROS(1, 1)
#endif

/* One to MAX_QUADS whole quads over `lanes` lanes (2 LANES, or LANES where LANES is 16). */
INLINE int64_t micro_some(const micro_job *job, int64_t lanes, int64_t left,
                          const float *const *in, float *const *out) {
#define RUN(V, Q)                                                                                 \
  return (job->runs->count * job->runs->length > TERMS ? micro_##V##_##Q##_1                      \
                                                       : micro_##V##_##Q##_0)(job, in, out),      \
         Q;
#if LANES == 16
  if (lanes == 32) {
    if (left >= 3) RUN(2, 3)
    RUN(2, 1)
  }
  if (left >= 6) RUN(1, 6)
  if (left >= 4) RUN(1, 4)
  RUN(1, 1)
#else
  (void)lanes, (void)left;
  RUN(2, 1)
#endif
#undef RUN
}

#if LANES == 16
/* Sixteen neighbouring pixels of a row and one vector of filters, for a kernel three wide that moves
 * by one pixel: an input that has been broadcast serves three pixels. A quad of one vector would load
 * a number for every product, and the loads would be what it waits for. */
#define ROW_PIXELS 16
static void micro_row(const micro_job *job, const float *in, float *out) {
  vf sums[ROW_PIXELS];
  int64_t step = job->in_step, channels = step, width = job->width;
  UNROLL for (int p = 0; p < ROW_PIXELS; ++p) {
    sums[p] = job->init != NULL ? load(job->init) : splat(0);
    if (job->accumulate) sums[p] += load(out + p * job->out_step);
  }
  const float *weights = job->weights;
  for (int64_t run = 0; run < job->runs->count; ++run) {
    const float *base[5];
    UNROLL for (int q = 0; q < 5; ++q) base[q] = in + job->runs->offset[run] + 4 * q * step;
    for (int64_t c = 0; c < channels; ++c) {
      vf w[3];
      UNROLL for (int k = 0; k < 3; ++k) w[k] = load(weights + (k * channels + c) * width);
      UNROLL for (int p = 0; p < ROW_PIXELS + 2; ++p) {
        vf x = splat(base[p / 4][(p % 4) * step]);
        UNROLL for (int k = 0; k < 3; ++k)
          if (p >= k && p - k < ROW_PIXELS) sums[p - k] += x * w[k];
      }
      UNROLL for (int q = 0; q < 5; ++q) base[q] += 1;
    }
    weights += 3 * channels * width;
  }
  UNROLL for (int p = 0; p < ROW_PIXELS; ++p) store(out + p * job->out_step, sums[p]);
}
#endif

/* A grid of output pixels, rows x columns, computed for all panels of a group.
 * in: base of the pixel (0, 0); in_row: floats to the base of the pixel below it.
 * out: the pixel (0, 0), at the group's first channel; channels: of the group's output. */
static void grid(const gk_runs *runs, const float *weights, const float *bias, int64_t rows,
                 int64_t columns, const float *in, int64_t in_row, int64_t in_step, float *out,
                 int64_t out_row, int64_t out_step, int64_t channels, int accumulate) {
  int64_t padded = gk_padded(channels), k = runs->count * runs->length;
  for (int64_t lane = 0; lane < padded; lane += GK_PANEL) {
    int64_t width = gk_panel_width(lane, padded);
    int64_t block = gk_min(width, SUBPANEL);
    for (int64_t sub = 0; sub < width; sub += block) {
      int64_t first = lane + sub, live = gk_min(block, channels - first);
      if (live <= 0) break;
      micro_job job = {runs,    weights + lane * k + sub, width,   in_step,
                       NULL,    accumulate,               out_step};
      float bias_lanes[GK_PANEL];
      if (bias != NULL) {
        for (int64_t i = 0; i < block; ++i) bias_lanes[i] = i < live ? bias[first + i] : 0;
        job.init = bias_lanes;
      }
      const float *ins[MAX_QUADS];
      float *outs[MAX_QUADS];
      int64_t waiting = 0;
      for (int64_t y = 0; y < rows; ++y) {
        int64_t x = 0;
#if LANES == 16
        if (block == 16 && live == 16 && runs->length == 3 * in_step && k <= TERMS)
          for (; x + ROW_PIXELS <= columns; x += ROW_PIXELS)
            micro_row(&job, in + y * in_row + x * in_step,
                      out + y * out_row + x * out_step + first);
#endif
        for (; x < columns; x += 4) {
          const float *base = in + y * in_row + x * in_step;
          float *to = out + y * out_row + x * out_step + first;
          if (live == block && x + 4 <= columns) {
            ins[waiting] = base, outs[waiting++] = to;
            while (waiting == MAX_QUADS) {
              int64_t did = micro_some(&job, block, waiting, ins, outs);
              waiting -= did;
              for (int64_t i = 0; i < waiting; ++i) ins[i] = ins[i + did], outs[i] = outs[i + did];
            }
            continue;
          }
          /* Cut by the row's end or by the last channel: through a small copy. */
          float copy[4 * GK_PANEL];
          int64_t pixels = gk_min(4, columns - x);
          memset(copy, 0, sizeof copy);
          for (int64_t p = 0; accumulate && p < pixels; ++p)
            memcpy(copy + p * block, to + p * out_step, (size_t)live * sizeof(float));
          micro_job edge = job;
          edge.out_step = block;
          float *copies[1] = {copy};
          micro_some(&edge, block, 1, &base, copies);
          for (int64_t p = 0; p < pixels; ++p)
            memcpy(to + p * out_step, copy + p * block, (size_t)live * sizeof(float));
        }
      }
      for (int64_t done = 0; done < waiting;)
        done += micro_some(&job, block, waiting - done, ins + done, outs + done);
    }
  }
}

INLINE void moments_lanes(const int v, const float *x, int64_t pixels, int64_t step, float *mean,
                          float *squares) {
  float share = 1 / (float)pixels;
  vf s[WIDE][2], q[WIDE][2], m[WIDE];
  UNROLL for (int i = 0; i < v; ++i)
    s[i][0] = s[i][1] = q[i][0] = q[i][1] = splat(0);
  int64_t p = 0;
  for (; p + 2 <= pixels; p += 2)
    UNROLL for (int i = 0; i < v; ++i) {
      s[i][0] += load(x + p * step + i * LANES);
      s[i][1] += load(x + (p + 1) * step + i * LANES);
    }
  for (; p < pixels; ++p)
    UNROLL for (int i = 0; i < v; ++i) s[i][0] += load(x + p * step + i * LANES);
  UNROLL for (int i = 0; i < v; ++i) m[i] = (s[i][0] + s[i][1]) * share;
  for (p = 0; p + 2 <= pixels; p += 2)
    UNROLL for (int i = 0; i < v; ++i) {
      vf d = load(x + p * step + i * LANES) - m[i];
      vf e = load(x + (p + 1) * step + i * LANES) - m[i];
      q[i][0] += d * d;
      q[i][1] += e * e;
    }
  for (; p < pixels; ++p)
    UNROLL for (int i = 0; i < v; ++i) {
      vf d = load(x + p * step + i * LANES) - m[i];
      q[i][0] += d * d;
    }
  UNROLL for (int i = 0; i < v; ++i) {
    store(mean + i * LANES, m[i]);
    store(squares + i * LANES, q[i][0] + q[i][1]);
  }
}

/* Mean and sum of squared deviations of every channel over `pixels` pixels. */
static void moments(const float *x, int64_t pixels, int64_t channels, float *mean, float *squares) {
  int64_t c = 0;
  for (; c + WIDE * LANES <= channels; c += WIDE * LANES)
    moments_lanes(WIDE, x + c, pixels, channels, mean + c, squares + c);
  for (; c + LANES <= channels; c += LANES)
    moments_lanes(1, x + c, pixels, channels, mean + c, squares + c);
  for (; c < channels; ++c) {
    float s[2] = {0, 0}, q[2] = {0, 0};
    int64_t p = 0;
    for (; p + 2 <= pixels; p += 2) s[0] += x[p * channels + c], s[1] += x[(p + 1) * channels + c];
    for (; p < pixels; ++p) s[0] += x[p * channels + c];
    float m = (s[0] + s[1]) * (1 / (float)pixels);
    for (p = 0; p + 2 <= pixels; p += 2) {
      float d = x[p * channels + c] - m, e = x[(p + 1) * channels + c] - m;
      q[0] += d * d, q[1] += e * e;
    }
    for (; p < pixels; ++p) {
      float d = x[p * channels + c] - m;
      q[0] += d * d;
    }
    mean[c] = m, squares[c] = q[0] + q[1];
  }
}

/* ---- forward: one image's band of rows ----------------------------------------------------- */

static void convolution_forward_tile(void *context, int64_t tile, int worker) {
  const gk_forward_job *job = context;
  const gk_convolution *s = job->shape;
  int64_t image = tile / job->bands, first = tile % job->bands * job->band;
  int64_t rows = gk_min(job->band, s->out_height - first);
  int64_t channels = s->channels / s->groups, filters = s->filters / s->groups;
  int64_t row = gk_in_width(s) * channels, out_row = s->out_width * s->filters;
  int64_t weights = gk_padded(filters) * job->runs->count * job->runs->length;
  float *scratch = job->scratch + worker * job->scratch_stride;
  float *out = job->out + (image * s->out_height + first) * out_row;
  for (int64_t g = 0; g < s->groups; ++g) {
    copy_rows(scratch, s, &job->in, image, g, first * s->stride_height - s->padding_height,
              gk_in_rows(s, rows));
    grid(job->runs, job->packed + g * weights, job->bias ? job->bias + g * filters : NULL, rows,
         s->out_width, scratch, s->stride_height * row, s->stride_width * channels,
         out + g * filters, out_row, s->filters, filters, 0);
  }
  if (job->statistics != NULL) {
    float *statistics = job->statistics + tile * 2 * s->filters;
    moments(out, rows * s->out_width, s->filters, statistics, statistics + s->filters);
  }
}

/* ---- backward: one chunk of images ---------------------------------------------------------- */

#define WEIGHT_MICRO(V, J)                                                                         \
  static void weights_##V##_##J(const float *x, int64_t x_row, int64_t x_step, const float *d,    \
                                int64_t d_row, int64_t d_step, int64_t rows, int64_t columns,     \
                                float *to, int64_t width) {                                       \
    vf sums[J][V];                                                                                \
    UNROLL for (int j = 0; j < J; ++j)                                                            \
      UNROLL for (int v = 0; v < V; ++v) sums[j][v] = splat(0);                                   \
    for (int64_t r = 0; r < rows; ++r) {                                                          \
      const float *xs = x + r * x_row, *ds = d + r * d_row;                                       \
      for (int64_t c = 0; c < columns; ++c, xs += x_step, ds += d_step) {                         \
        vf g[V];                                                                                  \
        UNROLL for (int v = 0; v < V; ++v) g[v] = load(ds + v * LANES);                           \
        UNROLL for (int j = 0; j < J; ++j) {                                                      \
          vf value = splat(xs[j]);                                                                \
          UNROLL for (int v = 0; v < V; ++v) sums[j][v] += value * g[v];                          \
        }                                                                                         \
      }                                                                                           \
    }                                                                                             \
    UNROLL for (int j = 0; j < J; ++j)                                                            \
      UNROLL for (int v = 0; v < V; ++v)                                                          \
        store(to + j * width + v * LANES, load(to + j * width + v * LANES) + sums[j][v]);         \
  }

WEIGHT_MICRO(2, 4)
WEIGHT_MICRO(2, 1)
#if LANES == 16
WEIGHT_MICRO(2, 12)
WEIGHT_MICRO(1, 24)
WEIGHT_MICRO(1, 8)
WEIGHT_MICRO(1, 1)
#endif

#if LANES == 16
/* The same trick for the weights: a kernel three wide, eight channels, one vector of filters. An input
 * that has been broadcast meets the gradients of three pixels, which stay in registers. */
static void weights_row(const float *x, int64_t x_row, const float *d, int64_t d_row, int64_t d_step,
                        int64_t channels, int64_t rows, int64_t columns, float *to, int64_t width) {
  vf sums[3][8];
  UNROLL for (int k = 0; k < 3; ++k)
    UNROLL for (int c = 0; c < 8; ++c) sums[k][c] = splat(0);
  for (int64_t r = 0; r < rows; ++r) {
    const float *xs = x + r * x_row, *ds = d + r * d_row;
    vf before = splat(0), last = splat(0);
    for (int64_t p = 0; p < columns; ++p, xs += channels, ds += d_step) {
      vf here = load(ds);
      UNROLL for (int c = 0; c < 8; ++c) {
        vf value = splat(xs[c]);
        sums[0][c] += value * here;
        sums[1][c] += value * last;
        sums[2][c] += value * before;
      }
      before = last, last = here;
    }
    UNROLL for (int c = 0; c < 8; ++c) {
      vf value = splat(xs[c]);
      sums[1][c] += value * last;
      sums[2][c] += value * before;
      sums[2][c] += splat(xs[channels + c]) * last;
    }
  }
  UNROLL for (int k = 0; k < 3; ++k)
    UNROLL for (int c = 0; c < 8; ++c) {
      float *at = to + (k * channels + c) * width;
      store(at, load(at) + sums[k][c]);
    }
}
#endif

/* Adds a band's share of the weights' gradient of one group. x: copied rows; d: the gradient. */
static void weight_band(const gk_convolution *s, const gk_runs *runs, const float *x, const float *d,
                        int64_t d_row, int64_t rows, float *partial) {
  int64_t channels = s->channels / s->groups, filters = s->filters / s->groups;
  int64_t x_row = gk_in_width(s) * channels * s->stride_height, x_step = channels * s->stride_width;
  int64_t padded = gk_padded(filters), length = runs->length, columns = s->out_width;
  for (int64_t lane = 0; lane < padded; lane += GK_PANEL) {
    int64_t width = gk_panel_width(lane, padded), block = gk_min(width, SUBPANEL);
    float *panel = partial + lane * runs->count * length;
    for (int64_t sub = 0; sub < width; sub += block) {
      const float *ds = d + lane + sub;
      for (int64_t run = 0; run < runs->count; ++run) {
        const float *xs = x + runs->offset[run];
        float *to = panel + run * length * width + sub;
        int64_t j = 0;
#define WEIGHTS(V, J)                                                                            \
  for (; j + J <= length; j += J)                                                                \
    weights_##V##_##J(xs + j, x_row, x_step, ds, d_row, filters, rows, columns, to + j * width, width);
#if LANES == 16
        if (block == 32) {
          WEIGHTS(2, 12) WEIGHTS(2, 4) WEIGHTS(2, 1)
        } else if (length == 3 * channels && x_step == channels && channels % 8 == 0) {
          for (int64_t c = 0; c < channels; c += 8)
            weights_row(xs + c, x_row, ds, d_row, filters, channels, rows, columns, to + c * width,
                        width);
        } else {
          WEIGHTS(1, 24) WEIGHTS(1, 8) WEIGHTS(1, 1)
        }
#else
        WEIGHTS(2, 4) WEIGHTS(2, 1)
#endif
#undef WEIGHTS
      }
    }
  }
}

/* Copies rows first to first + rows - 1 of an image's output gradient, with the halo's zeros. */
static void copy_gradient(float *to, const gk_backward_job *job, int64_t image, int64_t group,
                          int64_t first, int64_t rows) {
  const gk_convolution *s = job->shape;
  int64_t filters = s->filters / s->groups, width = s->out_width;
  int64_t row = (job->halo_left + width + job->halo_right) * filters;
  for (int64_t r = 0; r < rows; ++r, to += row) {
    int64_t y = first + r;
    if (y < 0 || y >= s->out_height) {
      memset(to, 0, (size_t)row * sizeof(float));
      continue;
    }
    int64_t at = ((image * s->out_height + y) * width) * s->filters + group * filters;
    memset(to, 0, (size_t)(job->halo_left * filters) * sizeof(float));
    read_gradient(to + job->halo_left * filters, filters, &job->gradient, job->gradient.g + at,
                  job->gradient.value.x ? job->gradient.value.x + at : NULL, s->filters, width,
                  filters, group * filters);
    memset(to + (job->halo_left + width) * filters, 0,
           (size_t)(job->halo_right * filters) * sizeof(float));
  }
}

/* The gradient of one image's group with respect to its input. `rows` holds the output gradient from
 * row `origin` on where the image fits as a whole; else bands are copied there as they are needed. */
static void input_gradient(const gk_backward_job *job, int64_t image, int64_t group, float *rows) {
  const gk_convolution *s = job->shape;
  int64_t channels = s->channels / s->groups, filters = s->filters / s->groups;
  int64_t row = (job->halo_left + s->out_width + job->halo_right) * filters;
  int64_t panel = gk_padded(channels), out_row = s->width * s->channels;
  const float *weights = job->packed + group * panel * filters * s->kernel_height * s->kernel_width;
  float *out = job->input_gradient + image * s->height * out_row + group * channels;
  for (int64_t py = 0; py < s->stride_height; ++py) {
    gk_axis_taps ty;
    gk_phase_taps(s->kernel_height, s->stride_height, s->padding_height, s->dilation_height, py, &ty);
    for (int64_t px = 0; px < s->stride_width; ++px) {
      gk_axis_taps tx;
      gk_phase_taps(s->kernel_width, s->stride_width, s->padding_width, s->dilation_width, px, &tx);
      int merged = tx.count > 0 && tx.offset[tx.count - 1] - tx.offset[0] == tx.count - 1;
      gk_runs runs = {0, merged ? tx.count * filters : filters, {0}};
      int64_t low = ty.count ? ty.offset[0] : 0, high = ty.count ? ty.offset[ty.count - 1] : 0;
      for (int64_t i = 0; i < ty.count; ++i)
        for (int64_t j = 0; j < (merged ? 1 : tx.count); ++j)
          runs.offset[runs.count++] = (ty.offset[i] - low) * row + tx.offset[j] * filters;
      int64_t height = py < s->height ? gk_ceil_div(s->height - py, s->stride_height) : 0;
      int64_t columns = px < s->width ? gk_ceil_div(s->width - px, s->stride_width) : 0;
      if (runs.count == 0) runs.length = 0;
      if (columns == 0) height = 0;
      int64_t band = job->whole ? height : gk_band(s);
      for (int64_t y = 0; y < height; y += band) {
        int64_t many = gk_min(band, height - y);
        const float *in = rows;
        if (job->whole) {
          in += (job->halo_top + y + low) * row;
        } else if (runs.count > 0) {
          copy_gradient(rows, job, image, group, y + low, many + high - low);
        }
        grid(&runs, weights, NULL, many, columns, in + job->halo_left * filters, row, filters,
             out + (py + y * s->stride_height) * out_row + px * s->channels,
             s->stride_height * out_row, s->stride_width * s->channels, channels, job->accumulate);
      }
      weights += panel * runs.count * runs.length;
    }
  }
}

static void convolution_backward_tile(void *context, int64_t chunk, int worker) {
  const gk_backward_job *job = context;
  const gk_convolution *s = job->shape;
  int64_t filters = s->filters / s->groups;
  int64_t row = (job->halo_left + s->out_width + job->halo_right) * filters;
  int64_t weights = gk_padded(filters) * job->runs->count * job->runs->length;
  float *partial = job->partial + chunk * job->partial_stride;
  float *scratch = job->scratch + worker * job->scratch_stride;
  int64_t band = gk_band(s);
  float *rows = scratch, *x = scratch + job->scratch_stride -
                              (gk_in_rows(s, band) * gk_in_width(s) * (s->channels / s->groups) +
                               GK_SLACK);
  memset(partial, 0, (size_t)job->partial_stride * sizeof(float));
  int64_t end = gk_min(s->n, (chunk + 1) * job->chunk_images);
  for (int64_t image = chunk * job->chunk_images; image < end; ++image) {
    for (int64_t g = 0; g < s->groups; ++g) {
      if (job->whole)
        copy_gradient(rows, job, image, g, -job->halo_top,
                      job->halo_top + s->out_height + job->halo_bottom);
      if (job->input_gradient != NULL) input_gradient(job, image, g, rows);
      for (int64_t y = 0; y < s->out_height; y += band) {
        int64_t many = gk_min(band, s->out_height - y);
        const float *d = rows + job->halo_left * filters;
        if (job->whole) {
          d += (job->halo_top + y) * row;
        } else {
          copy_gradient(rows, job, image, g, y, many);
        }
        copy_rows(x, s, &job->in, image, g, y * s->stride_height - s->padding_height,
                  gk_in_rows(s, many));
        weight_band(s, job->runs, x, d, row, many, partial + g * weights);
        if (job->want_bias) {
          float *bias = partial + job->weight_size + g * filters;
          for (int64_t r = 0; r < many; ++r)
            for (int64_t c = 0; c < s->out_width; ++c)
              for (int64_t f = 0; f < filters; ++f) bias[f] += d[r * row + c * filters + f];
        }
      }
    }
  }
}
