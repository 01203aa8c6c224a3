/* Convolutions as products over the pixels of all images (flat_plan.h), for vectors of LANES
 * floats. Included by tiles_*.c after view_tiles.h and moments_tiles.h. */

typedef struct flat_micro {
  const float *weights;       /* [term][width] */
  int64_t terms, width, step; /* step: floats from a pixel to the next */
  const float *init;          /* bias of these lanes, or NULL */
  int accumulate;             /* sums begin with what is there */
  int adds;                   /* they are added to what is there */
  const float *ahead[2];      /* lines that the caches are asked for meanwhile */
  int64_t ahead_step;         /* floats to the next, with every second term */
} flat_micro;

/* P pixels, V vectors of filters. */
#define FLAT_MICRO(V, P)                                                                  \
  static void flat_##V##_##P(const flat_micro *job, const float *x, float *const *out) {  \
    vf sums[P][V];                                                                        \
    const float *weights = job->weights, *base[(P + 3) / 4];                              \
    int64_t step = job->step, width = job->width;                                         \
    UNROLL for (int q = 0; q < (P + 3) / 4; ++q) base[q] = x + 4 * q * step;              \
    UNROLL for (int p = 0; p < P; ++p) UNROLL for (int v = 0; v < V; ++v) {               \
      sums[p][v] = job->init != NULL ? load(job->init + v * LANES) : splat(0);            \
      if (job->accumulate) sums[p][v] += load(out[p] + v * LANES);                        \
    }                                                                                     \
    const float *ahead = job->ahead[0], *beside = job->ahead[1];                          \
    int64_t ahead_step = job->ahead_step;                                                 \
    for (int64_t k = job->terms; k > 0; --k, ahead += ahead_step, beside += ahead_step) { \
      ask_for(ahead), ask_for(beside);                                                    \
      vf w[V];                                                                            \
      UNROLL for (int v = 0; v < V; ++v) w[v] = load(weights + v * LANES);                \
      UNROLL for (int p = 0; p < P; ++p) {                                                \
        vf value = splat(base[p / 4][(p % 4) * step]);                                    \
        UNROLL for (int v = 0; v < V; ++v) sums[p][v] += value * w[v];                    \
      }                                                                                   \
      UNROLL for (int q = 0; q < (P + 3) / 4; ++q) base[q] += 1;                          \
      weights += width;                                                                   \
    }                                                                                     \
    UNROLL for (int p = 0; p < P; ++p) UNROLL for (int v = 0; v < V; ++v) {               \
      if (job->adds) sums[p][v] += load(out[p] + v * LANES);                              \
      store(out[p] + v * LANES, sums[p][v]);                                              \
    }                                                                                     \
  }

FLAT_MICRO(2, 4)
#if LANES == 16
FLAT_MICRO(2, 12)
FLAT_MICRO(2, 8)
FLAT_MICRO(1, 12)
FLAT_MICRO(1, 4)
#endif

/* What a tile reads: a view, or a gradient's. */
typedef struct flat_source {
  const gk_view *view;
  const gk_gradient_view *gradient;
} flat_source;

/* Copies `count` pixels' channels, those from `at` on; they begin at number `from`. */
static void read_source(const flat_source *source, float *to, int64_t to_step, int64_t from,
                        int64_t from_step, int64_t count, int64_t channels, int64_t at) {
  if (source->view != NULL)
    read_view(to, to_step, source->view, from, from_step, count, channels, at);
  else
    read_gradient(to, to_step, source->gradient, from, from_step, count, channels, at);
}

/* Gathers the terms k to end - 1 of the pixels first to first + pixels - 1. */
static void gather(const gk_product *p, const flat_source *source, int64_t first, int64_t pixels,
                   int64_t k, int64_t end, float *to, int64_t step) {
  for (int64_t t = k / p->channels; t * p->channels < end; ++t) {
    int64_t at = gk_max(0, k - t * p->channels);
    int64_t channels = gk_min(end - t * p->channels, p->channels) - at;
    float *place = to + t * p->channels + at - k;
    for (int64_t done = 0, count; done < pixels; done += count, place += count * step) {
      int64_t x = (first + done) % p->columns, row = (first + done) / p->columns;
      int64_t iy = row % p->rows * p->step_y + p->tap_y[t], ix = x * p->step_x + p->tap_x[t];
      count = gk_min(pixels - done, p->columns - x);
      /* Those before the map's first column, and up to its last. */
      int64_t before = ix < 0 ? gk_min(count, gk_ceil_div(-ix, p->step_x)) : 0;
      int64_t inside = gk_min(count, ix < p->width ? (p->width - 1 - ix) / p->step_x + 1 : 0);
      if (iy < 0 || iy >= p->height) before = count;
      inside = gk_max(before, inside);
      for (int64_t i = 0; i < before; ++i)
        memset(place + i * step, 0, (size_t)channels * sizeof(float));
      if (inside > before)
        read_source(
            source, place + before * step, step,
            ((row / p->rows * p->height + iy) * p->width + ix + before * p->step_x) * p->channels +
                at,
            p->step_x * p->channels, inside - before, channels, at);
      for (int64_t i = inside; i < count; ++i)
        memset(place + i * step, 0, (size_t)channels * sizeof(float));
    }
  }
}

/* The next block's pixels, which the caches are asked for while one is computed: floats that lie
 * one behind the other, twice for a gradient and the values that it is read with. */
typedef struct flat_ahead {
  const float *from[2];
  int64_t floats, at;
} flat_ahead;

/* All pixels of a tile by `lanes` filters (at most SUBPANEL), `lane` floats from where the pixels'
 * results begin. Pixels that there are not go where nobody looks. */
static void flat_pixels(flat_micro *job, const float *x, int64_t pixels, int64_t lanes,
                        float *const *places, int64_t lane, flat_ahead *ahead) {
  float nowhere[GK_PANEL] = {0}, *out[12];
  for (int64_t i = 0, some; i < pixels; i += some) {
    int64_t left = pixels - i;
    some = LANES < 16 || left <= 4 ? 4 : left <= 8 && lanes > LANES ? 8 : left <= 8 ? 4 : 12;
    for (int64_t j = 0; j < some; ++j) out[j] = j < left ? places[i + j] + lane : nowhere;
    const float *from = x + i * job->step;
    int is_left = ahead->at + 16 * job->terms <= ahead->floats;
    job->ahead_step = is_left ? 16 : 0;
    for (int j = 0; j < 2; ++j) job->ahead[j] = is_left ? ahead->from[j] + ahead->at : from;
    if (is_left) ahead->at += 16 * job->terms;
#if LANES == 16
    if (lanes == 32)
      (some == 12 ? flat_2_12 : some == 8 ? flat_2_8 : flat_2_4)(job, from, out);
    else
      (some == 12 ? flat_1_12 : flat_1_4)(job, from, out);
#else
    (void)lanes;
    flat_2_4(job, from, out);
#endif
  }
}

/* What the caches are asked for before the tile's next block of pixels, of which there is one. */
static flat_ahead ahead_of(const gk_product *p, const flat_source *source, int64_t first,
                           int64_t pixels) {
  const gk_view *view = source->view != NULL ? source->view : &source->gradient->value;
  int64_t at = first * p->channels;
  const float *x = view->x != NULL ? view->x + view_floats(view, at) : source->gradient->g + at;
  flat_ahead ahead = {
      {source->view != NULL ? x : source->gradient->g + at, x}, pixels * p->channels, 0};
  return ahead;
}

/* A block of a product's pixels, the filters of one part; its statistics, where it is forward. */
static void flat_block(const gk_flat_job *job, const gk_product *p, const flat_source *source,
                       int64_t at, int64_t lane, flat_ahead ahead, float *gathered) {
  int64_t first = at * p->pixels;
  int64_t pixels = gk_min(p->pixels, p->images * p->rows * p->columns - first);
  int64_t end = gk_min(p->filters, lane + p->part), terms = p->taps * p->channels;
  float *places[GK_FLAT_PIXELS];
  for (int64_t i = 0; i < pixels; ++i) {
    int64_t row = (first + i) / p->columns;
    places[i] = job->out + p->out + row / p->rows * p->out_image + row % p->rows * p->out_row +
                (first + i) % p->columns * p->out_step + lane;
    if (terms == 0 && !job->accumulate) memset(places[i], 0, (size_t)(end - lane) * sizeof(float));
  }
  for (int64_t k = 0, next; k < terms; k = next) {
    next = gk_min(k + GK_FLAT_TERMS, terms);
    int64_t step = gk_flat_step(next - k);
    gather(p, source, first, pixels, k, next, gathered, step);
    for (int64_t panel = lane; panel < end; panel += GK_PANEL) {
      int64_t width = gk_panel_width(panel, p->filters), block = gk_min(width, SUBPANEL);
      for (int64_t sub = 0; sub < width; sub += block) {
        flat_micro micro = {job->packed + p->weights + panel * terms + k * width + sub,
                            next - k,
                            width,
                            step,
                            k == 0 && job->bias != NULL ? job->bias + panel + sub : NULL,
                            k == 0 && job->accumulate,
                            k > 0};
        flat_pixels(&micro, gathered, pixels, block, places, panel + sub - lane, &ahead);
      }
    }
  }
  for (int64_t i = 0; job->statistics != NULL && i < pixels; i += p->share) {
    float *statistics = job->statistics + (first + i) / p->share * 2 * p->filters + lane;
    moments(places[i], gk_min(p->share, pixels - i), end - lane, p->filters, statistics,
            statistics + p->filters);
  }
}

/* The sums for the batch norm before, of the same block. (There is one product then, and its pixels
 * lie one behind the other.) */
static void flat_sums(const gk_flat_job *job, const gk_product *p, int64_t block, int64_t lane) {
  int64_t first = block * p->pixels, at = first * p->filters + lane;
  int64_t pixels = gk_min(p->pixels, p->images * p->rows * p->columns - first);
  summed made = {job->out + at, at, p->filters, p->filters, pixels, &job->in, job->sums.mean};
  float *sums = job->sums.sums + block * 2 * p->filters + lane;
  gradient_sums(&made, gk_min(p->part, p->filters - lane), lane, 0, sums, sums + p->filters);
}

/* Some blocks, one after the other: while one is computed, the caches are asked for the next. */
static void flat_tile(const gk_flat_job *job, const gk_product *p, const flat_source *source,
                      int64_t tile, int worker) {
  int64_t block = tile / p->parts * p->group, lane = tile % p->parts * p->part;
  int64_t end = gk_min(p->blocks, block + p->group);
  int simple = p->taps == 1 && p->images == 1 && p->rows == 1 && p->channels <= GK_FLAT_TERMS;
  for (; block < end; ++block) {
    int64_t next = (block + 1) * p->pixels;
    flat_ahead ahead = {{NULL, NULL}, 0, 0};
    if (simple && block + 1 < end)
      ahead = ahead_of(p, source, next, gk_min(p->pixels, p->columns - next));
    flat_block(job, p, source, block, lane, ahead, job->scratch + worker * job->scratch_stride);
    if (job->sums.sums != NULL) flat_sums(job, p, block, lane);
  }
}

static void flat_forward_tile(void *context, int64_t tile, int worker) {
  const gk_flat_job *job = context;
  flat_source source = {&job->in, NULL};
  flat_tile(job, job->products.product, &source, tile, worker);
}

static void flat_input_tile(void *context, int64_t tile, int worker) {
  const gk_flat_job *job = context;
  const gk_product *p = job->products.product;
  flat_source source = {NULL, &job->gradient};
  for (; tile >= gk_product_tiles(p); ++p) tile -= gk_product_tiles(p);
  flat_tile(job, p, &source, tile, worker);
}
