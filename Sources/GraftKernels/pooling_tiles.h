/* The loops of pooling.c for vectors of LANES floats. Included by tiles_*.c after view_tiles.h.
 * Windows are always gone through from the first row and column on, so that a pixel's sum does not
 * depend on how the work is cut. */

/* A window's rows or columns within the map. */
typedef struct pool_range {
  int64_t first, end;
} pool_range;

static inline pool_range pool_window(int64_t at, const gk_pooling *s, int64_t size) {
  int64_t first = at * s->stride - s->padding;
  return (pool_range){gk_max(0, first), gk_min(size, first + s->kernel)};
}

/* The windows, of `count`, that a row or column of the map lies in. */
static inline pool_range pool_windows_of(int64_t at, const gk_pooling *s, int64_t count) {
  int64_t reach = at + s->padding;
  int64_t first = reach < s->kernel ? 0 : (reach - s->kernel) / s->stride + 1;
  return (pool_range){first, gk_min(count, reach / s->stride + 1)};
}

/* One output row, channels c to c + many * LANES - 1. */
INLINE void pool_row(const int many, const gk_pool_job *job, const float *x, int64_t oy, int64_t c,
                     float *out, int32_t *choices, const int average, const int chooses) {
  const gk_pooling *s = job->shape;
  const gk_view *view = &job->in;
  vf scale[WIDE], shift[WIDE];
  UNROLL for (int i = 0; i < many; ++i) {
    scale[i] = view->scale ? load(view->scale + c + i * LANES) : splat(1);
    shift[i] = view->scale ? load(view->shift + c + i * LANES) : splat(0);
  }
  float slope = view->slope, ceiling = view_ceiling(view);
  float share = 1 / (float)(s->kernel * s->kernel);
  pool_range rows = pool_window(oy, s, s->height);
  for (int64_t ox = 0; ox < s->out_width; ++ox) {
    pool_range columns = pool_window(ox, s, s->width);
    vf result[WIDE];
    vi choice[WIDE];
    UNROLL for (int i = 0; i < many; ++i) {
      result[i] = splat(average ? 0 : -INFINITY);
      choice[i] = (vi){0} + (int32_t)(rows.first * s->width + columns.first);
    }
    for (int64_t y = rows.first; y < rows.end; ++y)
      for (int64_t xx = columns.first; xx < columns.end; ++xx) {
        int64_t pixel = y * s->width + xx;
        const float *from = x + pixel * s->channels + c;
        UNROLL for (int i = 0; i < many; ++i) {
          vf v = cap(load(from + i * LANES) * scale[i] + shift[i], slope, ceiling);
          if (average) {
            result[i] += v;
            continue;
          }
          vi better = (v > result[i]) | (v != v);
          result[i] = choose(better, v, result[i]);
          if (chooses) choice[i] = (((vi){0} + (int32_t)pixel) & better) | (choice[i] & ~better);
        }
      }
    int64_t at = ox * s->channels + c;
    UNROLL for (int i = 0; i < many; ++i) {
      store(out + at + i * LANES, average ? result[i] * share : result[i]);
      if (chooses) memcpy(choices + at + i * LANES, &choice[i], sizeof choice[i]);
    }
  }
}

INLINE void pool_lanes(const int many, const gk_pool_job *job, const float *x, int64_t oy,
                       int64_t c, float *out, int32_t *choices) {
  if (job->shape->average) {
    pool_row(many, job, x, oy, c, out, choices, 1, 0);
  } else if (choices == NULL) {
    pool_row(many, job, x, oy, c, out, choices, 0, 0);
  } else {
    pool_row(many, job, x, oy, c, out, choices, 0, 1);
  }
}

/* The same for one channel. */
static void pool_channel(const gk_pool_job *job, const float *x, int64_t oy, int64_t c, float *out,
                         int32_t *choices) {
  const gk_pooling *s = job->shape;
  float scale = job->in.scale ? job->in.scale[c] : 1, shift = job->in.scale ? job->in.shift[c] : 0;
  float share = 1 / (float)(s->kernel * s->kernel);
  pool_range rows = pool_window(oy, s, s->height);
  for (int64_t ox = 0; ox < s->out_width; ++ox) {
    pool_range columns = pool_window(ox, s, s->width);
    float sum = 0, most = -INFINITY;
    int64_t choice = rows.first * s->width + columns.first;
    for (int64_t y = rows.first; y < rows.end; ++y)
      for (int64_t xx = columns.first; xx < columns.end; ++xx) {
        int64_t pixel = y * s->width + xx;
        float v = view_value(&job->in, x[pixel * s->channels + c] * scale + shift);
        sum += v;
        if (v > most || v != v) most = v, choice = pixel;
      }
    out[ox * s->channels + c] = s->average ? sum * share : most;
    if (choices != NULL) choices[ox * s->channels + c] = (int32_t)choice;
  }
}

static void pool_tile(void *context, int64_t tile, int worker) {
  const gk_pool_job *job = context;
  const gk_pooling *s = job->shape;
  (void)worker;
  int64_t image = tile / job->tiles, first = tile % job->tiles * job->rows;
  int64_t end = gk_min(s->out_height, first + job->rows);
  const float *x = job->in.x + image * s->height * s->width * s->channels;
  for (int64_t oy = first; oy < end; ++oy) {
    int64_t at = (image * s->out_height + oy) * s->out_width * s->channels, c = 0;
    float *out = job->out + at;
    int32_t *choices = job->choice != NULL ? job->choice + at : NULL;
    for (; c + WIDE * LANES <= s->channels; c += WIDE * LANES)
      pool_lanes(WIDE, job, x, oy, c, out, choices);
    for (; c + LANES <= s->channels; c += LANES) pool_lanes(1, job, x, oy, c, out, choices);
    for (; c < s->channels; ++c) pool_channel(job, x, oy, c, out, choices);
  }
}

/* A row of the map collects from the windows that it lies in. */
static void pool_backward_tile(void *context, int64_t tile, int worker) {
  const gk_pool_job *job = context;
  const gk_pooling *s = job->shape;
  (void)worker;
  int64_t channels = s->channels, image = tile / job->tiles, first = tile % job->tiles * job->rows;
  int64_t end = gk_min(s->height, first + job->rows);
  int64_t windows = image * s->out_height * s->out_width * channels;
  const float *gradient = job->gradient + windows;
  const int32_t *chosen = s->average ? NULL : job->chosen + windows;
  float share = 1 / (float)(s->kernel * s->kernel);
  for (int64_t y = first; y < end; ++y) {
    pool_range rows = pool_windows_of(y, s, s->out_height);
    for (int64_t x = 0; x < s->width; ++x) {
      pool_range columns = pool_windows_of(x, s, s->out_width);
      int64_t pixel = y * s->width + x, c = 0;
      float *to = job->to + (image * s->height * s->width + pixel) * channels;
      for (; c + LANES <= channels; c += LANES) {
        vf sum = job->accumulate ? load(to + c) : splat(0);
        for (int64_t oy = rows.first; oy < rows.end; ++oy)
          for (int64_t ox = columns.first; ox < columns.end; ++ox) {
            int64_t at = (oy * s->out_width + ox) * channels + c;
            vf g = load(gradient + at);
            if (chosen == NULL) {
              sum += g * share;
              continue;
            }
            vi choice;
            memcpy(&choice, chosen + at, sizeof choice);
            sum += choose(choice == (int32_t)pixel, g, splat(0));
          }
        store(to + c, sum);
      }
      for (; c < channels; ++c) {
        float sum = job->accumulate ? to[c] : 0;
        for (int64_t oy = rows.first; oy < rows.end; ++oy)
          for (int64_t ox = columns.first; ox < columns.end; ++ox) {
            int64_t at = (oy * s->out_width + ox) * channels + c;
            if (chosen == NULL) {
              sum += gradient[at] * share;
            } else if (chosen[at] == pixel) {
              sum += gradient[at];
            }
          }
        to[c] = sum;
      }
    }
  }
}

/* ---- global ---- */

INLINE void global_lanes(const int v, const gk_global_job *job, const float *x, int64_t c,
                         float *out) {
  const gk_view *view = &job->in;
  vf scale[WIDE], shift[WIDE], sum[WIDE];
  UNROLL for (int i = 0; i < v; ++i) {
    scale[i] = view->scale ? load(view->scale + c + i * LANES) : splat(1);
    shift[i] = view->scale ? load(view->shift + c + i * LANES) : splat(0);
    sum[i] = splat(0);
  }
  float slope = view->slope, ceiling = view_ceiling(view);
  for (int64_t p = 0; p < job->pixels; ++p)
    UNROLL for (int i = 0; i < v; ++i) sum[i] +=
        cap(load(x + p * job->channels + c + i * LANES) * scale[i] + shift[i], slope, ceiling);
  float share = 1 / (float)job->pixels;
  UNROLL for (int i = 0; i < v; ++i) store(out + c + i * LANES, sum[i] * share);
}

static void global_tile(void *context, int64_t image, int worker) {
  const gk_global_job *job = context;
  (void)worker;
  int64_t channels = job->channels, c = 0;
  const float *x = job->in.x + image * job->pixels * channels;
  float *out = job->out + image * channels;
  for (; c + WIDE * LANES <= channels; c += WIDE * LANES) global_lanes(WIDE, job, x, c, out);
  for (; c + LANES <= channels; c += LANES) global_lanes(1, job, x, c, out);
  for (; c < channels; ++c) {
    float scale = job->in.scale ? job->in.scale[c] : 1, sum = 0;
    float shift = job->in.scale ? job->in.shift[c] : 0;
    for (int64_t p = 0; p < job->pixels; ++p)
      sum += view_value(&job->in, x[p * channels + c] * scale + shift);
    out[c] = sum * (1 / (float)job->pixels);
  }
}

static void global_backward_tile(void *context, int64_t image, int worker) {
  const gk_global_job *job = context;
  (void)worker;
  const float *g = job->gradient + image * job->channels;
  float *to = job->to + image * job->pixels * job->channels, share = 1 / (float)job->pixels;
  for (int64_t p = 0; p < job->pixels; ++p, to += job->channels) {
    if (job->accumulate) {
      for (int64_t c = 0; c < job->channels; ++c) to[c] += g[c] * share;
    } else {
      for (int64_t c = 0; c < job->channels; ++c) to[c] = g[c] * share;
    }
  }
}

/* ---- option A ---- */

static void shortcut_tile(void *context, int64_t image, int worker) {
  const gk_shortcut_job *job = context;
  const gk_shortcut *s = job->shape;
  (void)worker;
  int64_t row = s->out_width * s->out_channels;
  float *out = job->out + image * s->out_height * row;
  memset(out, 0, (size_t)(s->out_height * row) * sizeof(float));
  for (int64_t y = 0; y < s->out_height; ++y)
    read_view(out + y * row + s->first, s->out_channels, &job->in,
              (image * s->height + y * s->stride) * s->width * s->channels, s->stride * s->channels,
              s->out_width, s->channels, 0);
}

static void shortcut_backward_tile(void *context, int64_t image, int worker) {
  const gk_shortcut_job *job = context;
  const gk_shortcut *s = job->shape;
  (void)worker;
  int64_t size = s->height * s->width * s->channels;
  float *to = job->to + image * size;
  const float *g = job->gradient + image * s->out_height * s->out_width * s->out_channels;
  if (!job->accumulate) memset(to, 0, (size_t)size * sizeof(float));
  for (int64_t y = 0; y < s->out_height; ++y)
    for (int64_t x = 0; x < s->out_width; ++x, g += s->out_channels) {
      float *at = to + (y * s->stride * s->width + x * s->stride) * s->channels;
      for (int64_t c = 0; c < s->channels; ++c) at[c] += g[s->first + c];
    }
}
