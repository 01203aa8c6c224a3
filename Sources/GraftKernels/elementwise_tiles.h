/* The loops of elementwise.c and norm.c for vectors of LANES floats. Included by tiles_*.c after
 * convolution_tiles.h. */

static void sum_tile(void *context, int64_t tile, int worker) {
  const gk_sum_job *job = context;
  (void)worker;
  int64_t channels = job->channels, first = tile * gk_tile_pixels(channels);
  int64_t end = gk_min(job->pixels, first + gk_tile_pixels(channels));
  int two = job->b.x != NULL;
  const gk_view *va = &job->a, *vb = &job->b;
  int64_t whole = channels - channels % LANES;
  for (int64_t c = 0; c < whole; c += LANES) {
    vf sa = splat(1), ta = splat(0), sb = splat(1), tb = splat(0);
    if (va->scale) sa = load(va->scale + c), ta = load(va->shift + c);
    if (two && vb->scale) sb = load(vb->scale + c), tb = load(vb->shift + c);
    for (int64_t p = first; p < end; ++p) {
      vf v = rectify(load(va->x + p * channels + c) * sa + ta, va->slope);
      if (two) v += rectify(load(vb->x + p * channels + c) * sb + tb, vb->slope);
      store(job->out + p * channels + c, rectify(v, job->slope));
    }
  }
  for (int64_t c = whole; c < channels; ++c) {
    float sa = va->scale ? va->scale[c] : 1, ta = va->scale ? va->shift[c] : 0;
    float sb = two && vb->scale ? vb->scale[c] : 1, tb = two && vb->scale ? vb->shift[c] : 0;
    for (int64_t p = first; p < end; ++p) {
      float v = va->x[p * channels + c] * sa + ta;
      v = v > 0 ? v : v * va->slope;
      if (two) {
        float w = vb->x[p * channels + c] * sb + tb;
        v += w > 0 ? w : w * vb->slope;
      }
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
  const float *x = job->gradient.value.x;
  if (!job->accumulate) {
    read_gradient(job->to + first * channels, &job->gradient, job->gradient.g + first * channels,
                  x ? x + first * channels : NULL, channels, end - first, channels, 0);
    return;
  }
  float copy[1024];
  int64_t some = gk_max(1, 1024 / channels);
  for (int64_t p = first; p < end; p += some) {
    int64_t many = gk_min(some, end - p);
    for (int64_t c = 0; c < channels; c += 1024) {
      int64_t live = gk_min(1024, channels - c);
      read_gradient(copy, &job->gradient, job->gradient.g + p * channels + c,
                    x ? x + p * channels + c : NULL, channels, many, live, c);
      for (int64_t i = 0; i < many; ++i)
        for (int64_t k = 0; k < live; ++k) job->to[(p + i) * channels + c + k] += copy[i * live + k];
    }
  }
}

static void moments_tile(void *context, int64_t tile, int worker) {
  const gk_reduce_job *job = context;
  (void)worker;
  int64_t channels = job->channels, first = tile * gk_tile_pixels(channels);
  int64_t end = gk_min(job->pixels, first + gk_tile_pixels(channels));
  float *sums = job->sums + tile * 2 * channels;
  moments(job->gradient.g + first * channels, end - first, channels, sums, sums + channels);
}

static void reduce_tile(void *context, int64_t tile, int worker) {
  const gk_reduce_job *job = context;
  (void)worker;
  int64_t channels = job->channels, first = tile * gk_tile_pixels(channels);
  int64_t end = gk_min(job->pixels, first + gk_tile_pixels(channels));
  const gk_view *value = &job->gradient.value;
  const float *g = job->gradient.g, *x = value->x;
  float *sums = job->sums + tile * 2 * channels, slope = value->slope;
  int rectified = slope != 1;
  int64_t whole = channels - channels % LANES;
  for (int64_t c = 0; c < whole; c += LANES) {
    vf scale = splat(1), shift = splat(0), mean = load(job->mean + c);
    if (value->scale) scale = load(value->scale + c), shift = load(value->shift + c);
    vf s[2] = {splat(0), splat(0)}, q[2] = {splat(0), splat(0)};
    int64_t p = first;
    for (; p + 2 <= end; p += 2)
      UNROLL for (int i = 0; i < 2; ++i) {
        vf xv = load(x + (p + i) * channels + c), m = load(g + (p + i) * channels + c);
        if (rectified) m = choose(xv * scale + shift > splat(0), m, m * slope);
        s[i] += m;
        q[i] += m * (xv - mean);
      }
    for (; p < end; ++p) {
      vf xv = load(x + p * channels + c), m = load(g + p * channels + c);
      if (rectified) m = choose(xv * scale + shift > splat(0), m, m * slope);
      s[0] += m;
      q[0] += m * (xv - mean);
    }
    store(sums + c, s[0] + s[1]);
    store(sums + channels + c, q[0] + q[1]);
  }
  for (int64_t c = whole; c < channels; ++c) {
    float scale = value->scale ? value->scale[c] : 1, shift = value->scale ? value->shift[c] : 0;
    float s = 0, q = 0;
    for (int64_t p = first; p < end; ++p) {
      float xv = x[p * channels + c], m = g[p * channels + c];
      if (rectified && !(xv * scale + shift > 0)) m *= slope;
      s += m, q += m * (xv - job->mean[c]);
    }
    sums[c] = s, sums[channels + c] = q;
  }
}

static void sgd_tile(void *context, int64_t tile, int worker) {
  const gk_sgd_job *job = context;
  (void)worker;
  const gk_sgd_settings *set = job->settings;
  int64_t i = tile * GK_GRAIN, end = gk_min(job->count, i + GK_GRAIN);
  for (; i < end; ++i) {
    float w = job->weights[i], d = job->gradient[i] + set->decay * w;
    float m = set->first ? d : set->momentum * job->momentum[i] + d;
    job->momentum[i] = m;
    job->weights[i] = w - set->rate * (set->nesterov ? d + set->momentum * m : m);
  }
}
