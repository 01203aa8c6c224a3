/* The backward pass of a convolution of single pixels (local_plan.h), for vectors of LANES floats.
 * Included by convolution_backward_tiles.h. */

/* Adds the output gradient of a block to the bias'. */
static void local_bias(const float *d, int64_t pixels, int64_t filters, float *bias) {
  for (int64_t p = 0; p < pixels; ++p)
    for (int64_t f = 0; f < filters; ++f) bias[f] += d[p * filters + f];
}

/* What a block needs of memory: up to three runs of floats, and how far they have been asked for.
 */
typedef struct local_ahead {
  const float *from[3];
  int64_t floats[3], at;
  int run;
} local_ahead;

#define LINE 16 /* floats in a line of the caches */

/* The next `lines` lines to ask for, or the last so many of a run. Once all have been asked for,
 * `near`, again and again. */
static const float *local_next(local_ahead *ahead, int64_t lines, const float *near,
                               int64_t *step) {
  while (ahead->run < 3 && ahead->at >= ahead->floats[ahead->run]) ++ahead->run, ahead->at = 0;
  *step = ahead->run < 3 ? LINE : 0;
  if (ahead->run == 3) return near;
  int64_t at = gk_max(0, gk_min(ahead->at, ahead->floats[ahead->run] - lines * LINE));
  ahead->at += lines * LINE;
  return ahead->from[ahead->run] + at;
}

/* A row of pixels, and the lines that the caches are asked for meanwhile: two with every pixel. */
typedef struct local_pixels {
  int64_t count, x_step, d_step;
  const float *ahead[2];
  int64_t ahead_step[2];
} local_pixels;

/* As weights_*_0 of weight_tiles.h. */
#define LOCAL_WEIGHTS(V, J)                                                                      \
  static void local_##V##_##J(const local_pixels *p, const float *x, const float *d, float *to,  \
                              int64_t width) {                                                   \
    vf sums[J][V];                                                                               \
    UNROLL for (int j = 0; j < J; ++j) UNROLL for (int v = 0; v < V; ++v) sums[j][v] = splat(0); \
    for (int64_t c = 0; c < p->count; ++c, x += p->x_step, d += p->d_step) {                     \
      vf g[V];                                                                                   \
      UNROLL for (int i = 0; i < 2; ++i) ask_for(p->ahead[i] + c * p->ahead_step[i]);            \
      UNROLL for (int v = 0; v < V; ++v) g[v] = load(d + v * LANES);                             \
      UNROLL for (int j = 0; j < J; ++j) UNROLL for (int v = 0; v < V; ++v) sums[j][v] +=        \
          splat(x[j]) * g[v];                                                                    \
    }                                                                                            \
    UNROLL for (int j = 0; j < J; ++j) UNROLL for (int v = 0; v < V; ++v) {                      \
      float *at = to + j * width + v * LANES;                                                    \
      store(at, load(at) + sums[j][v]);                                                          \
    }                                                                                            \
  }

LOCAL_WEIGHTS(2, 4)
LOCAL_WEIGHTS(2, 1)
#if LANES == 16
LOCAL_WEIGHTS(2, 12)
LOCAL_WEIGHTS(1, 24)
LOCAL_WEIGHTS(1, 8)
LOCAL_WEIGHTS(1, 1)
#endif

/* Adds a row's share of the weights' gradient. The next block's numbers are asked for meanwhile, so
 * that memory and arithmetic go on side by side. */
static void local_weights(const gk_convolution *s, const float *x, const float *d, int64_t pixels,
                          local_ahead *ahead, float *partial) {
  int64_t channels = s->channels, padded = gk_padded(s->filters);
  local_pixels p = {pixels, channels, s->filters, {x, x}, {0, 0}};
  for (int64_t lane = 0; lane < padded; lane += GK_PANEL) {
    int64_t width = gk_panel_width(lane, padded), block = gk_min(width, SUBPANEL);
    for (int64_t sub = 0; sub < width; sub += block) {
      const float *ds = d + lane + sub;
      float *to = partial + lane * channels + sub;
      int64_t j = 0;
#define WEIGHTS(V, J)                                                                        \
  for (; j + J <= channels; j += J) {                                                        \
    for (int i = 0; i < 2; ++i) p.ahead[i] = local_next(ahead, pixels, x, &p.ahead_step[i]); \
    local_##V##_##J(&p, x + j, ds, to + j * width, width);                                   \
  }
#if LANES == 16
      if (block == 32) {
        WEIGHTS(2, 12) WEIGHTS(2, 4) WEIGHTS(2, 1)
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

static void local_backward_chunk(const gk_backward_job *job, int64_t chunk, int worker) {
  const gk_convolution *s = job->shape;
  const gk_view *in = &job->in;
  int64_t channels = s->channels, filters = s->filters, block = gk_local_block(s);
  int64_t map = s->height * s->width, first = chunk * job->chunk_images * map;
  int64_t end = gk_min(s->n * map, first + job->chunk_images * map);
  float *partial = job->partial + chunk * job->partial_stride;
  float *waiting = job->scratch + worker * job->scratch_stride;
  float *d = waiting + (block + 4) * channels + GK_SLACK;
  float *copy = d + (block + 4) * filters + GK_SLACK;
  /* (Who makes the input's gradient leaves the sums.) */
  float *sums = job->input_gradient != NULL ? job->sums.sums : NULL;
  if (sums != NULL) {
    sums += chunk * 2 * channels;
    memset(sums, 0, (size_t)(2 * channels) * sizeof(float));
  }
  memset(partial, 0, (size_t)job->partial_stride * sizeof(float));
  gk_runs runs = {1, filters, {0}};
  int past = LANES == 16 && !job->accumulate && job->input_gradient != NULL &&
             gk_goes_past(job->input_gradient, s->n * map * channels, channels);
  int waits = past && sums != NULL;
  int plain = in->scale == NULL && in->slope == 1 && !in->halves;
  for (int64_t at = first; at < end; at += block) {
    int64_t many = gk_min(block, end - at);
    const float *x = plain ? in->x + at * channels : copy;
    read_gradient(d, filters, &job->gradient, at * filters, filters, many, filters, 0);
    if (!plain) read_view(copy, channels, in, at * channels, channels, many, channels, 0);
    if (job->input_gradient != NULL) {
      float *place = job->input_gradient + at * channels, *out = waits ? waiting : place;
      grid(&runs, job->packed, NULL, 1, many, d, 0, filters, out, 0, channels, channels,
           job->accumulate, past && !waits, 0);
      if (sums != NULL) {
        summed made = {out, at * channels, channels, channels, many, in, job->sums.mean};
        gradient_sums(&made, channels, 0, 1, sums, sums + channels);
      }
      if (waits) copy_past(place, out, many * channels);
    }
    int64_t next = gk_min(block, end - at - many);
    const gk_view *value = &job->gradient.value;
    local_ahead ahead = {.floats = {next * filters, 0, view_floats(in, next * channels)}};
    ahead.from[0] = job->gradient.g + (at + many) * filters;
    if (value->x != NULL) {
      ahead.from[1] = value->x + view_floats(value, (at + many) * filters);
      ahead.floats[1] = view_floats(value, next * filters);
    }
    ahead.from[2] = in->x + view_floats(in, (at + many) * channels);
    local_weights(s, x, d, many, &ahead, partial);
    if (job->want_bias) local_bias(d, many, filters, partial + job->weight_size);
  }
}
