/* The loops of concatenation.c for vectors of LANES floats. Included by tiles_*.c after
 * elementwise_tiles.h. */

static void concatenate_tile(void *context, int64_t tile, int worker) {
  const gk_concatenate_job *job = context;
  (void)worker;
  int64_t channels = job->channels, first = tile * gk_tile_pixels(channels);
  int64_t end = gk_min(job->pixels, first + gk_tile_pixels(channels));
  float *out = job->out + first * channels;
  int64_t at = 0;
  for (int64_t i = 0; i < job->count; ++i) {
    const gk_part *part = &job->parts[i];
    read_view(out + at, channels, &part->in, first * part->channels, part->channels, end - first,
              part->channels, 0);
    at += part->channels;
  }
  if (job->statistics != NULL) {
    float *statistics = job->statistics + tile * 2 * channels;
    moments(out, end - first, channels, channels, statistics, statistics + channels);
  }
}

/* Floats of a tile's gradient that are read at once, in whole pixels where they fit. */
#define SPLIT_ROOM 4096

static void split_tile(void *context, int64_t tile, int worker) {
  const gk_split_job *job = context;
  (void)worker;
  int64_t channels = job->channels, first = tile * gk_tile_pixels(channels);
  int64_t end = gk_min(job->pixels, first + gk_tile_pixels(channels));
  float copy[SPLIT_ROOM];
  int64_t width = gk_min(channels, SPLIT_ROOM), some = SPLIT_ROOM / width;
  for (int64_t p = first; p < end; p += some)
    for (int64_t c = 0; c < channels; c += width) {
      int64_t many = gk_min(some, end - p), live = gk_min(width, channels - c);
      read_gradient(copy, live, &job->gradient, p * channels + c, channels, many, live, c);
      int64_t at = 0; /* the part's first channel */
      for (int64_t i = 0; i < job->count; at += job->parts[i++].channels) {
        const gk_gradient_part *part = &job->parts[i];
        int64_t low = gk_max(at, c), high = gk_min(at + part->channels, c + live);
        if (part->to == NULL || low >= high) continue;
        for (int64_t q = 0; q < many; ++q) {
          float *to = part->to + (p + q) * part->channels + (low - at);
          const float *from = copy + q * live + (low - c);
          if (part->accumulate) {
            for (int64_t k = 0; k < high - low; ++k) to[k] += from[k];
          } else {
            memcpy(to, from, (size_t)(high - low) * sizeof(float));
          }
        }
      }
    }
}
