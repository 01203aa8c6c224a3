/* The loops of elementwise.c and norm.c for vectors of LANES floats. Included by tiles_*.c after
 * convolution_tiles.h. */

INLINE void sum_lanes(const int v, const int halves_a, const int halves_b, int64_t last,
                      const gk_sum_job *job, int64_t first, int64_t end, int64_t c) {
  const gk_view *va = &job->a, *vb = &job->b;
  int two = vb->x != NULL;
  int64_t channels = job->channels;
  float ceiling_a = view_ceiling(va), ceiling_b = view_ceiling(vb);
  vf sa[WIDE], ta[WIDE], sb[WIDE], tb[WIDE];
  UNROLL for (int i = 0; i < v; ++i) {
    int64_t at = c + VECTOR(i);
    sa[i] = va->scale ? load(va->scale + at) : splat(1);
    ta[i] = va->scale ? load(va->shift + at) : splat(0);
    sb[i] = two && vb->scale ? load(vb->scale + at) : splat(1);
    tb[i] = two && vb->scale ? load(vb->shift + at) : splat(0);
  }
  for (int64_t p = first; p < end; ++p) {
    vf sum[WIDE];
    UNROLL for (int i = 0; i < v; ++i) {
      int64_t at = p * channels + c + VECTOR(i);
      sum[i] = cap(load_any(halves_a, va->x, at) * sa[i] + ta[i], va->slope, ceiling_a);
      if (two) sum[i] += cap(load_any(halves_b, vb->x, at) * sb[i] + tb[i], vb->slope, ceiling_b);
    }
    UNROLL for (int i = 0; i < v; ++i)
        store(job->out + p * channels + c + VECTOR(i), rectify(sum[i], job->slope));
  }
}

static void sum_tile(void *context, int64_t tile, int worker) {
  const gk_sum_job *job = context;
  (void)worker;
  int64_t channels = job->channels, first = tile * gk_tile_pixels(channels);
  int64_t end = gk_min(job->pixels, first + gk_tile_pixels(channels));
  const gk_view *va = &job->a, *vb = &job->b;
  int two = vb->x != NULL;
  int64_t c = 0;
#define LOOP(V, C, LAST)                            \
  do {                                              \
    if (va->halves && vb->halves)                   \
      sum_lanes(V, 1, 1, LAST, job, first, end, C); \
    else if (va->halves)                            \
      sum_lanes(V, 1, 0, LAST, job, first, end, C); \
    else if (vb->halves)                            \
      sum_lanes(V, 0, 1, LAST, job, first, end, C); \
    else                                            \
      sum_lanes(V, 0, 0, LAST, job, first, end, C); \
  } while (0)
  OVER_VECTORS(c, channels, LOOP)
#undef LOOP
  for (; c < channels; ++c) {
    float sa = va->scale ? va->scale[c] : 1, ta = va->scale ? va->shift[c] : 0;
    float sb = two && vb->scale ? vb->scale[c] : 1, tb = two && vb->scale ? vb->shift[c] : 0;
    for (int64_t p = first; p < end; ++p) {
      float v = view_value(va, number_at(va->halves, va->x, p * channels + c) * sa + ta);
      if (two) v += view_value(vb, number_at(vb->halves, vb->x, p * channels + c) * sb + tb);
      job->out[p * channels + c] = v > 0 ? v : v * job->slope;
    }
  }
}

static void rectify_tile(void *context, int64_t tile, int worker) {
  const gk_rectify_job *job = context;
  (void)worker;
  int64_t i = tile * GK_GRAIN, end = gk_min(job->count, i + GK_GRAIN);
  for (; i + LANES <= end; i += LANES) {
    vf g = load(job->gradient + i);
    store(job->gradient + i, choose(load(job->out + i) > splat(0), g, g * job->slope));
  }
  for (; i < end; ++i)
    job->gradient[i] = job->out[i] > 0 ? job->gradient[i] : job->gradient[i] * job->slope;
}

static void apply_tile(void *context, int64_t tile, int worker) {
  const gk_apply_job *job = context;
  (void)worker;
  int64_t channels = job->channels, first = tile * gk_tile_pixels(channels);
  int64_t end = gk_min(job->pixels, first + gk_tile_pixels(channels));
  if (!job->accumulate) {
    read_gradient(job->to + first * channels, channels, &job->gradient, first * channels, channels,
                  end - first, channels, 0);
    return;
  }
  float copy[1024];
  int64_t some = gk_max(1, 1024 / channels);
  for (int64_t p = first; p < end; p += some) {
    int64_t many = gk_min(some, end - p);
    for (int64_t c = 0; c < channels; c += 1024) {
      int64_t live = gk_min(1024, channels - c);
      read_gradient(copy, live, &job->gradient, p * channels + c, channels, many, live, c);
      for (int64_t i = 0; i < many; ++i)
        for (int64_t k = 0; k < live; ++k)
          job->to[(p + i) * channels + c + k] += copy[i * live + k];
    }
  }
}

static void moments_tile(void *context, int64_t tile, int worker) {
  const gk_reduce_job *job = context;
  (void)worker;
  int64_t channels = job->channels, first = tile * gk_tile_pixels(channels);
  int64_t end = gk_min(job->pixels, first + gk_tile_pixels(channels));
  float *sums = job->sums + tile * 2 * channels;
  moments(job->gradient.g + first * channels, end - first, channels, channels, sums,
          sums + channels);
}

static void reduce_tile(void *context, int64_t tile, int worker) {
  const gk_reduce_job *job = context;
  (void)worker;
  int64_t channels = job->channels, first = tile * gk_tile_pixels(channels);
  int64_t end = gk_min(job->pixels, first + gk_tile_pixels(channels));
  const gk_view *value = &job->gradient.value;
  float *sums = job->sums + tile * 2 * channels;
  summed from = {job->gradient.g + first * channels,
                 first * channels,
                 channels,
                 channels,
                 end - first,
                 value,
                 job->mean};
  gradient_sums(&from, channels, 0, 0, sums, sums + channels);
}

static void sgd_tile(void *context, int64_t tile, int worker) {
  const gk_sgd_job *job = context;
  (void)worker;
  const gk_sgd_settings *set = job->settings;
  int64_t i = tile * GK_GRAIN, end = gk_min(job->count, i + GK_GRAIN);
  for (; i < end; ++i) {
    /* (Apart from the sum, whose rounding must not depend on there being a scale.) */
    float w = job->weights[i], g = set->scale * job->gradient[i];
    float d = g + set->decay * w;
    float m = set->first ? d : set->momentum * job->momentum[i] + d;
    job->momentum[i] = m;
    job->weights[i] = w - set->rate * (set->nesterov ? d + set->momentum * m : m);
  }
}
