/* The loops of dropout.c for vectors of LANES floats. Included by tiles_*.c after view_tiles.h. */

/* Blocks that are computed side by side, and words that they give. */
#define PHILOX_BLOCKS 16
#define PHILOX_WORDS (4 * PHILOX_BLOCKS)

/* The words from block `first` on. Each loop is one instruction on vectors. */
static void dropout_words(const gk_dropout *s, int64_t image, int64_t first, uint32_t *words) {
  uint32_t x[PHILOX_BLOCKS], y[PHILOX_BLOCKS], z[PHILOX_BLOCKS], w[PHILOX_BLOCKS];
  uint32_t k0 = s->key[0], k1 = s->key[1];
  for (int i = 0; i < PHILOX_BLOCKS; ++i) {
    x[i] = (uint32_t)(first + i), y[i] = s->layer;
    z[i] = (uint32_t)image, w[i] = 0;
  }
  UNROLL for (int round = 0; round < 10; ++round) {
    for (int i = 0; i < PHILOX_BLOCKS; ++i) {
      uint64_t left = (uint64_t)x[i] * 0xD2511F53u, right = (uint64_t)z[i] * 0xCD9E8D57u;
      x[i] = (uint32_t)(right >> 32) ^ y[i] ^ k0, y[i] = (uint32_t)right;
      z[i] = (uint32_t)(left >> 32) ^ w[i] ^ k1, w[i] = (uint32_t)left;
    }
    k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
  }
  for (int i = 0; i < PHILOX_BLOCKS; ++i) {
    words[4 * i] = x[i], words[4 * i + 1] = y[i];
    words[4 * i + 2] = z[i], words[4 * i + 3] = w[i];
  }
}

/* to[e] = from[e] kept or 0, for a tile's share of an image; from and to may be the same. */
static void dropout_share(const gk_dropout_job *job, int64_t tile, const float *from, float *to) {
  const gk_dropout *s = job->shape;
  int64_t image = tile / job->tiles, e = tile % job->tiles * GK_DROPOUT_GRAIN;
  int64_t end = gk_min(s->pixels * s->channels, e + GK_DROPOUT_GRAIN);
  for (; e < end; e += PHILOX_WORDS) {
    uint32_t words[PHILOX_WORDS];
    dropout_words(s, image, e / 4, words);
    int64_t many = gk_min(PHILOX_WORDS, end - e);
    for (int64_t i = 0; i < many; ++i)
      to[e + i] = words[i] >= s->threshold ? from[e + i] * s->scale : 0;
  }
}

/* Numbers `e` to `end` of an image that begins with number `from` of what a view shows: to a
 * pixel's end, whole pixels, what is left. */
static void dropout_read(const gk_view *view, int64_t from, float *to, int64_t e, int64_t end,
                         int64_t channels) {
  while (e < end) {
    int64_t c = e % channels, pixels = c == 0 ? (end - e) / channels : 0;
    int64_t some = pixels > 0 ? channels : gk_min(end - e, channels - c);
    read_view(to + e, some, view, from + e, some, gk_max(1, pixels), some, c);
    e += gk_max(1, pixels) * some;
  }
}

static void dropout_tile(void *context, int64_t tile, int worker) {
  const gk_dropout_job *job = context;
  const gk_dropout *s = job->shape;
  (void)worker;
  int64_t size = s->pixels * s->channels, image = tile / job->tiles;
  const float *x = job->in.x + image * size;
  float *out = job->out + image * size;
  if (job->in.scale != NULL || job->in.slope != 1) {
    int64_t first = tile % job->tiles * GK_DROPOUT_GRAIN;
    dropout_read(&job->in, image * size, out, first, gk_min(size, first + GK_DROPOUT_GRAIN),
                 s->channels);
    x = out;
  }
  dropout_share(job, tile, x, out);
}

static void dropout_backward_tile(void *context, int64_t tile, int worker) {
  const gk_dropout_job *job = context;
  (void)worker;
  int64_t size = job->shape->pixels * job->shape->channels;
  float *gradient = job->out + tile / job->tiles * size;
  dropout_share(job, tile, gradient, gradient);
}
