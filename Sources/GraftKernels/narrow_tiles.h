/* Convolutions to few filters (narrow_plan.h), for vectors of LANES floats. Included by tiles_*.c
 * after weight_tiles.h. */

/* Pixels and filters whose sums are in registers at once; the filters divide 12. */
#if LANES == 16
#define NARROW_PIXELS 4
#define NARROW_BLOCK 6
#else
#define NARROW_PIXELS 2
#define NARROW_BLOCK 4
#endif

/* The sums over the lanes of eight vectors. */
INLINE void lane_sums(const vf *v, float *to) {
#if LANES == 16
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#define HALVES(a, b)                                                       \
  (SHUFFLE(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) + \
   SHUFFLE(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31))
#define QUARTERS(a, b)                                                       \
  (SHUFFLE(a, b, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27) + \
   SHUFFLE(a, b, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31))
#define PAIRS(a, b)                                                          \
  (SHUFFLE(a, b, 0, 1, 4, 5, 8, 9, 12, 13, 16, 17, 20, 21, 24, 25, 28, 29) + \
   SHUFFLE(a, b, 2, 3, 6, 7, 10, 11, 14, 15, 18, 19, 22, 23, 26, 27, 30, 31))
  vf low = QUARTERS(HALVES(v[0], v[1]), HALVES(v[2], v[3]));
  vf high = QUARTERS(HALVES(v[4], v[5]), HALVES(v[6], v[7]));
  vf two = PAIRS(low, high), sums;
  sums = SHUFFLE(two, two, 0, 2, 4, 6, 8, 10, 12, 14, 0, 2, 4, 6, 8, 10, 12, 14) +
         SHUFFLE(two, two, 1, 3, 5, 7, 9, 11, 13, 15, 1, 3, 5, 7, 9, 11, 13, 15);
  memcpy(to, &sums, 8 * sizeof(float));
#undef HALVES
#undef QUARTERS
#undef PAIRS
#undef SHUFFLE
#else
  for (int i = 0; i < 8; ++i) {
    float lanes[LANES], sum = 0;
    memcpy(lanes, &v[i], sizeof lanes);
    for (int l = 0; l < LANES; ++l) sum += lanes[l];
    to[i] = sum;
  }
#endif
}

typedef struct narrow_job {
  const gk_runs *runs;
  const float *weights; /* the first filter's */
  int64_t size, row;    /* floats from a filter to the next, and from a kernel's row to the next */
  int64_t in_step, out_step, filters;
  const float *bias;
} narrow_job;

/* P neighbouring pixels, up to NARROW_BLOCK filters. What follows a run in memory may be no number,
 * so that lanes past the run's end are set to zero. */
#define NARROW_MICRO(P)                                                                          \
  static void narrow_##P(const narrow_job *job, const float *in, float *out) {                   \
    vf sums[P][8];                                                                               \
    int64_t step = job->in_step, size = job->size, length = job->runs->length;                   \
    int64_t whole = length / LANES * LANES;                                                      \
    vi lanes;                                                                                    \
    UNROLL for (int l = 0; l < LANES; ++l) lanes[l] = l < length - whole ? -1 : 0;               \
    UNROLL for (int p = 0; p < P; ++p) UNROLL for (int f = 0; f < 8; ++f) sums[p][f] = splat(0); \
    for (int64_t run = 0; run < job->runs->count; ++run) {                                       \
      const float *x = in + job->runs->offset[run], *w = job->weights + run * job->row;          \
      vf value[P];                                                                               \
      int64_t k = 0;                                                                             \
      for (; k < whole; k += LANES) {                                                            \
        UNROLL for (int p = 0; p < P; ++p) value[p] = load(x + p * step + k);                    \
        UNROLL for (int f = 0; f < NARROW_BLOCK; ++f) {                                          \
          vf weight = load(w + f * size + k);                                                    \
          UNROLL for (int p = 0; p < P; ++p) sums[p][f] += value[p] * weight;                    \
        }                                                                                        \
      }                                                                                          \
      if (k == length) continue;                                                                 \
      UNROLL for (int p = 0; p < P; ++p) value[p] =                                              \
          choose(lanes, load(x + p * step + k), splat(0));                                       \
      UNROLL for (int f = 0; f < NARROW_BLOCK; ++f) {                                            \
        vf weight = load(w + f * size + k);                                                      \
        UNROLL for (int p = 0; p < P; ++p) sums[p][f] += value[p] * weight;                      \
      }                                                                                          \
    }                                                                                            \
    UNROLL for (int p = 0; p < P; ++p) {                                                         \
      float to[8];                                                                               \
      lane_sums(sums[p], to);                                                                    \
      for (int64_t f = 0; f < job->filters; ++f)                                                 \
        out[p * job->out_step + f] = to[f] + (job->bias != NULL ? job->bias[f] : 0);             \
    }                                                                                            \
  }

NARROW_MICRO(1)
#if LANES == 16
NARROW_MICRO(4)
#define NARROW_SOME narrow_4
#else
NARROW_MICRO(2)
#define NARROW_SOME narrow_2
#endif

/* A grid of output pixels, like grid() of convolution_tiles.h. */
static void narrow_grid(const gk_convolution *s, const gk_runs *runs, const float *weights,
                        const float *bias, int64_t rows, const float *in, int64_t in_row,
                        float *out) {
  narrow_job job = {.runs = runs, .row = gk_narrow_row(s)};
  job.size = s->kernel_height * job.row;
  job.in_step = s->stride_width * s->channels, job.out_step = s->filters;
  for (int64_t y = 0; y < rows; ++y)
    for (int64_t f = 0; f < s->filters; f += NARROW_BLOCK) {
      const float *from = in + y * in_row;
      float *to = out + y * s->out_width * s->filters + f;
      job.filters = gk_min(NARROW_BLOCK, s->filters - f);
      job.weights = weights + f * job.size;
      job.bias = bias != NULL ? bias + f : NULL;
      int64_t x = 0;
      for (; x + NARROW_PIXELS <= s->out_width; x += NARROW_PIXELS)
        NARROW_SOME(&job, from + x * job.in_step, to + x * s->filters);
      for (; x < s->out_width; ++x) narrow_1(&job, from + x * job.in_step, to + x * s->filters);
    }
}

/* Adds a band's share of the weights' gradient: the filters' gradients are broadcast, a kernel's
 * row lies in the lanes. x: copied rows, of which a few floats past the last may be read. */
static void narrow_band(const gk_convolution *s, const gk_runs *runs, const weight_pixels *p,
                        const float *x, const float *d, float *partial) {
  weight_pixels turned = {p->images, p->d_image, p->x_image, p->rows,  p->d_row,
                          p->x_row,  p->columns, p->d_step,  p->x_step};
  int64_t row = gk_narrow_row(s), size = s->kernel_height * row;
  for (int64_t run = 0; run < runs->count; ++run) {
    const float *xs = x + runs->offset[run];
    float *to = partial + run * row;
    int64_t k = 0;
#define WEIGHTS(V, J)                 \
  for (; f + J <= s->filters; f += J) \
    weights_##V##_##J##_0(&turned, d + f, xs + k, to + f * size + k, size);
    for (; k + 2 * LANES <= row; k += 2 * LANES) {
      int64_t f = 0;
#if LANES == 16
      WEIGHTS(2, 12)
      WEIGHTS(2, 8)
#endif
      WEIGHTS(2, 4) WEIGHTS(2, 1)
    }
#if LANES == 16
    for (; k < row; k += LANES) {
      int64_t f = 0;
      WEIGHTS(1, 12) WEIGHTS(1, 8) WEIGHTS(1, 1)
    }
#endif
#undef WEIGHTS
  }
}
