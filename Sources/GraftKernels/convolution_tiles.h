/* The convolution's forward loops, for vectors of LANES floats. Included by tiles_*.c.
 *
 * A quad is four neighbouring output pixels of a row. MICRO(v, q) holds 4q x v vectors of sums in
 * registers, walks a panel's weights once, and for each weight vector broadcasts the 4q inputs that
 * it meets. The gradient of the input (convolution_backward_tiles.h) is the same loop over other
 * runs. */

/* Copies rows first to first + rows - 1 of an image's group into scratch, padded with zeros; where
 * the shape is paired, as pairs, through `line`, which takes a row of floats. */
static void copy_rows(float *to, float *line, const gk_convolution *s, const gk_view *view,
                      int64_t image, int64_t group, int64_t first, int64_t rows) {
  int64_t channels = s->channels / s->groups, width = gk_in_width(s);
  int64_t units = gk_in_units(s), row = width * units;
  int64_t left = gk_min(s->padding_width, width);
  int64_t inside = gk_max(0, gk_min(s->width, width - left));
  for (int64_t r = 0; r < rows; ++r, to += row) {
    int64_t y = first + r;
    if (y < 0 || y >= s->height) {
      memset(to, 0, (size_t)row * sizeof(float));
      continue;
    }
    memset(to, 0, (size_t)(left * units) * sizeof(float));
    int64_t from = (image * s->height + y) * s->width * s->channels + group * channels;
    int paired = gk_is_paired(s);
    read_view(paired ? line : to + left * units, channels, view, from, s->channels, inside,
              channels, group * channels);
    if (paired) round_pixels(to + left * units, line, inside, channels);
    memset(to + (left + inside) * units, 0,
           (size_t)((width - left - inside) * units) * sizeof(float));
  }
}

/* ---- four pixels a quad, one panel --------------------------------------------------------- */

#define MAX_QUADS 6

typedef struct micro_job {
  const gk_runs *runs;
  const float *weights; /* [k][width] */
  int64_t width;        /* floats from k to k + 1 */
  int64_t in_step;      /* floats from an output pixel's base to the next one's */
  const float *init;    /* bias of these lanes, or NULL */
  int accumulate;       /* add to what is there */
  int64_t out_step;     /* floats from an output pixel to the next one in its quad */
  int64_t last; /* where the last vector of filters begins: overlaps the first where few are left */
  int past;     /* write past the caches */
  int paired;   /* inputs and weights are pairs of bfloat16 */
} micro_job;

#define MICRO(V, Q, LONG, PAIRED)                                                               \
  static void micro_##V##_##Q##_##LONG##_##PAIRED(const micro_job *job, const float *const *in, \
                                                  float *const *out) {                          \
    vf sums[4 * Q][V];                                                                          \
    int64_t step = job->in_step, out_step = job->out_step, last = V > 1 ? job->last : 0;        \
    UNROLL for (int p = 0; p < 4 * Q; ++p) {                                                    \
      UNROLL for (int v = 0; v < V; ++v) {                                                      \
        sums[p][v] = splat(0);                                                                  \
        if (job->init != NULL) sums[p][v] = load(job->init + v * last);                         \
        if (job->accumulate) sums[p][v] += load(out[p / 4] + (p % 4) * out_step + v * last);    \
      }                                                                                         \
    }                                                                                           \
    vf totals[LONG ? 4 * Q : 1][V];                                                             \
    int64_t terms = 0;                                                                          \
    if (LONG) memset(totals, 0, sizeof totals);                                                 \
    const float *weights = job->weights;                                                        \
    for (int64_t run = 0; run < job->runs->count; ++run) {                                      \
      const float *base[Q];                                                                     \
      UNROLL for (int q = 0; q < Q; ++q) base[q] = in[q] + job->runs->offset[run];              \
      for (int64_t left = job->runs->length; left > 0;) {                                       \
        int64_t some = LONG ? gk_min(left, TERMS) : left;                                       \
        for (int64_t k = 0; k < some; ++k) {                                                    \
          vf w[V];                                                                              \
          UNROLL for (int v = 0; v < V; ++v) w[v] = load(weights + v * last);                   \
          UNROLL for (int p = 0; p < 4 * Q; ++p) {                                              \
            vf x = broadcast(PAIRED, base[p / 4] + (p % 4) * step);                             \
            UNROLL for (int v = 0; v < V; ++v) sums[p][v] = add(PAIRED, sums[p][v], x, w[v]);   \
          }                                                                                     \
          UNROLL for (int q = 0; q < Q; ++q) base[q] += 1;                                      \
          weights += job->width;                                                                \
        }                                                                                       \
        left -= some;                                                                           \
        if (LONG && (terms += some) >= TERMS) {                                                 \
          UNROLL for (int p = 0; p < 4 * Q; ++p) {                                              \
            UNROLL for (int v = 0; v < V; ++v) {                                                \
              totals[LONG ? p : 0][v] += sums[p][v];                                            \
              sums[p][v] = splat(0);                                                            \
            }                                                                                   \
          }                                                                                     \
          terms = 0;                                                                            \
        }                                                                                       \
      }                                                                                         \
    }                                                                                           \
    UNROLL for (int p = 0; p < 4 * Q; ++p) {                                                    \
      UNROLL for (int v = 0; v < V; ++v) if (LONG) sums[p][v] += totals[LONG ? p : 0][v];       \
    }                                                                                           \
    if (job->past) {                                                                            \
      UNROLL for (int p = 0; p < 4 * Q; ++p) UNROLL for (int v = 0; v < V; ++v)                 \
          store_past(out[p / 4] + (p % 4) * out_step + v * last, sums[p][v]);                   \
    } else {                                                                                    \
      UNROLL for (int p = 0; p < 4 * Q; ++p) UNROLL for (int v = 0; v < V; ++v)                 \
          store(out[p / 4] + (p % 4) * out_step + v * last, sums[p][v]);                        \
    }                                                                                           \
  }
#define MICROS(V, Q) MICRO(V, Q, 0, 0) MICRO(V, Q, 1, 0) MICRO(V, Q, 0, 1) MICRO(V, Q, 1, 1)

MICROS(2, 1)
#if LANES == 16
MICROS(2, 3)
MICROS(1, 6)
MICROS(1, 4)
MICROS(1, 1)
#endif

/* One to MAX_QUADS whole quads over `lanes` lanes (2 LANES, or LANES where LANES is 16). */
INLINE int64_t micro_some(const micro_job *job, int64_t lanes, int64_t left, const float *const *in,
                          float *const *out) {
  int is_long = job->runs->count * job->runs->length > TERMS;
#define RUN(V, Q)                                                               \
  return (job->paired ? is_long ? micro_##V##_##Q##_1_1 : micro_##V##_##Q##_0_1 \
          : is_long   ? micro_##V##_##Q##_1_0                                   \
                      : micro_##V##_##Q##_0_0)(job, in, out),                     \
         Q;
#if LANES == 16
  if (lanes == 32) {
    if (left >= 3) RUN(2, 3)
    RUN(2, 1)
  }
  if (left >= 6 && left != 8) RUN(1, 6)
  if (left >= 4) RUN(1, 4)
  RUN(1, 1)
#else
  (void)lanes, (void)left;
  RUN(2, 1)
#endif
#undef RUN
}

#if LANES == 16
/* Sixteen neighbouring pixels of a row and one vector of filters, for a kernel three wide that
 * moves by one pixel: an input that has been broadcast serves three pixels. A quad of one vector
 * would load a number for every product, and the loads would be what it waits for. */
#define ROW_PIXELS 16
INLINE void micro_row_of(const int paired, const micro_job *job, const float *in, float *out) {
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
        vf x = broadcast(paired, base[p / 4] + (p % 4) * step);
        UNROLL for (int k = 0; k < 3; ++k) if (p >= k && p - k < ROW_PIXELS) sums[p - k] =
            add(paired, sums[p - k], x, w[k]);
      }
      UNROLL for (int q = 0; q < 5; ++q) base[q] += 1;
    }
    weights += 3 * channels * width;
  }
  UNROLL for (int p = 0; p < ROW_PIXELS; ++p) store(out + p * job->out_step, sums[p]);
}
static void micro_row(const micro_job *job, const float *in, float *out) {
  micro_row_of(0, job, in, out);
}
static void micro_row_paired(const micro_job *job, const float *in, float *out) {
  micro_row_of(1, job, in, out);
}
#endif

/* Quads that are cut by the row's end or by the last channel wait here until there are enough for
 * full micro tiles, and go through small copies. */
#define EDGE_QUADS 8
typedef struct edge_quads {
  int64_t count;
  const float *in[EDGE_QUADS];
  float *to[EDGE_QUADS];
  int64_t pixels[EDGE_QUADS];
} edge_quads;

static void run_edges(edge_quads *edges, const micro_job *job, int64_t block, int64_t live) {
  float copies[EDGE_QUADS][4 * GK_PANEL], *out[EDGE_QUADS];
  micro_job edge = *job;
  edge.out_step = block, edge.past = 0;
  for (int64_t i = 0; i < edges->count; ++i) {
    out[i] = copies[i];
    if (!job->accumulate) continue;
    memset(copies[i], 0, sizeof copies[i]);
    for (int64_t p = 0; p < edges->pixels[i]; ++p)
      memcpy(copies[i] + p * block, edges->to[i] + p * job->out_step, (size_t)live * sizeof(float));
  }
  for (int64_t done = 0; done < edges->count;)
    done += micro_some(&edge, block, edges->count - done, edges->in + done, out + done);
  for (int64_t i = 0; i < edges->count; ++i)
    for (int64_t p = 0; p < edges->pixels[i]; ++p)
      memcpy(edges->to[i] + p * job->out_step, copies[i] + p * block, (size_t)live * sizeof(float));
  edges->count = 0;
}

/* Copies floats, a multiple of 16, past the caches. */
static void copy_past(float *to, const float *from, int64_t count) {
  for (int64_t i = 0; i < count; i += LANES) store_past(to + i, load(from + i));
}

/* A grid of output pixels, rows x columns, computed for all panels of a group. Inputs are counted
 * in units where they are paired.
 * in: base of the pixel (0, 0); in_row: floats to the base of the pixel below it.
 * out: the pixel (0, 0), at the group's first channel; channels: of the group's output. */
static void grid(const gk_runs *runs, const float *weights, const float *bias, int64_t rows,
                 int64_t columns, const float *in, int64_t in_row, int64_t in_step, float *out,
                 int64_t out_row, int64_t out_step, int64_t channels, int accumulate, int past,
                 int paired) {
  int64_t padded = gk_padded(channels), k = runs->count * runs->length;
  for (int64_t lane = 0; lane < padded; lane += GK_PANEL) {
    int64_t width = gk_panel_width(lane, padded);
    int64_t block = gk_min(width, SUBPANEL);
    for (int64_t sub = 0; sub < width; sub += block) {
      int64_t first = lane + sub, live = gk_min(block, channels - first);
      if (live <= 0) break;
      micro_job job = {
          runs,  weights + lane * k + sub, width, in_step, NULL, accumulate, out_step, LANES, past,
          paired};
      /* Two vectors of filters fit into what is left where one does: they overlap. */
      int fits = live == block || (block == 2 * LANES && live >= LANES);
      if (fits) job.last = live - block + LANES;
      float bias_lanes[GK_PANEL];
      if (bias != NULL) {
        for (int64_t i = 0; i < block; ++i) bias_lanes[i] = i < live ? bias[first + i] : 0;
        job.init = bias_lanes;
      }
      const float *ins[MAX_QUADS];
      float *outs[MAX_QUADS];
      int64_t waiting = 0;
      edge_quads edges;
      edges.count = 0;
      for (int64_t y = 0; y < rows; ++y) {
        int64_t x = 0;
#if LANES == 16
        if (block == 16 && live == 16 && runs->length == 3 * in_step && k <= TERMS)
          for (; x + ROW_PIXELS <= columns; x += ROW_PIXELS)
            (paired ? micro_row_paired : micro_row)(&job, in + y * in_row + x * in_step,
                                                    out + y * out_row + x * out_step + first);
#endif
        for (; x < columns; x += 4) {
          const float *base = in + y * in_row + x * in_step;
          float *to = out + y * out_row + x * out_step + first;
          if (fits && x + 4 <= columns) {
            ins[waiting] = base, outs[waiting++] = to;
            while (waiting == MAX_QUADS) {
              int64_t did = micro_some(&job, block, waiting, ins, outs);
              waiting -= did;
              for (int64_t i = 0; i < waiting; ++i) ins[i] = ins[i + did], outs[i] = outs[i + did];
            }
            continue;
          }
          edges.in[edges.count] = base, edges.to[edges.count] = to;
          edges.pixels[edges.count++] = gk_min(4, columns - x);
          if (edges.count == EDGE_QUADS) run_edges(&edges, &job, block, live);
        }
      }
      for (int64_t done = 0; done < waiting;)
        done += micro_some(&job, block, waiting - done, ins + done, outs + done);
      if (edges.count > 0) run_edges(&edges, &job, block, live);
    }
  }
}

/* ---- forward: one image's band of rows ----------------------------------------------------- */

static void convolution_forward_tile(void *context, int64_t tile, int worker) {
  const gk_forward_job *job = context;
  const gk_convolution *s = job->shape;
  int64_t image = tile / job->bands, first = tile % job->bands * job->band;
  int64_t rows = gk_min(job->band, s->out_height - first);
  int64_t channels = gk_in_units(s), filters = s->filters / s->groups;
  int64_t row = gk_in_width(s) * channels, out_row = s->out_width * s->filters;
  int64_t weights = gk_padded(filters) * job->runs->count * job->runs->length;
  float *scratch = job->scratch + worker * job->scratch_stride;
  float *place = job->out + (image * s->out_height + first) * out_row, *out = place;
  int past = LANES == 16 && gk_waiting(s) > 0 && !s->halves &&
             gk_goes_past(job->out, s->n * s->out_height * out_row, s->filters);
  if (past || s->halves) {
    out = scratch;
    scratch += gk_ceil_div(gk_waiting(s), 16) * 16;
  }
  if (gk_is_winograd(s)) {
    float *copied = scratch + gk_winograd_scratch(s);
    copy_rows(copied, NULL, s, &job->in, image, 0, first - s->padding_height, gk_in_rows(s, rows));
    winograd_grid(job->packed, job->bias, rows, s->out_width, copied, row, channels, out, out_row,
                  s->filters, s->filters, 0, gk_winograd_block(s), scratch);
  } else if (gk_is_narrow(s)) {
    copy_rows(scratch, NULL, s, &job->in, image, 0, first * s->stride_height - s->padding_height,
              gk_in_rows(s, rows));
    memset(scratch + gk_in_rows(s, rows) * row, 0, GK_SLACK * sizeof(float));
    narrow_grid(s, job->runs, job->packed, job->bias, rows, scratch, s->stride_height * row, out);
  } else {
    for (int64_t g = 0; g < s->groups; ++g) {
      float *line = scratch + row * gk_in_rows(s, job->band) + GK_SLACK;
      copy_rows(scratch, line, s, &job->in, image, g, first * s->stride_height - s->padding_height,
                gk_in_rows(s, rows));
      grid(job->runs, job->packed + g * weights, job->bias ? job->bias + g * filters : NULL, rows,
           s->out_width, scratch, s->stride_height * row, s->stride_width * channels,
           out + g * filters, out_row, s->filters, filters, 0, 0, gk_is_paired(s));
    }
  }
  if (job->statistics != NULL) {
    float *statistics = job->statistics + tile * 2 * s->filters;
    moments(out, rows * s->out_width, s->filters, s->filters, statistics, statistics + s->filters);
  }
  if (past) copy_past(place, out, rows * out_row);
  if (s->halves)
    halve((gk_half *)job->out + (image * s->out_height + first) * out_row, out, rows * out_row);
}
