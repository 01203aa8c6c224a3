/* The backward pass of a convolution of single pixels (local_plan.h), for vectors of LANES floats.
 * Included by convolution_backward_tiles.h. */

/* Adds the output gradient of a block to the bias'. */
static void local_bias(const float *d, int64_t pixels, int64_t filters, float *bias) {
  for (int64_t p = 0; p < pixels; ++p)
    for (int64_t f = 0; f < filters; ++f) bias[f] += d[p * filters + f];
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
  float *sums = job->sums.sums;
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
    weight_pixels pixels = {1, 0, 0, 1, 0, 0, many, channels, filters};
    weight_band(s, job->runs, &pixels, x, d, partial);
    if (job->want_bias) local_bias(d, many, filters, partial + job->weight_size);
  }
}
