/* Convolutions of small maps across images (across_plan.h), for vectors of LANES floats. Included
 * by tiles_*.c after convolution_tiles.h and weight_tiles.h. */

/* A run of products: where it starts in the input and in the weights, in floats, and whether the
 * sums so far are put aside after it. */
typedef struct across_run {
  int64_t in, weights, length;
  int flush;
} across_run;

/* Taps times the pieces that their channels are cut into. */
#define ACROSS_RUNS (GK_ACROSS_KERNEL * GK_ACROSS_KERNEL * (GK_ACROSS_CHANNELS / TERMS + 2))

typedef struct across_job {
  const across_run *runs;
  int64_t count, width; /* of the weights: floats from k to k + 1 */
  const float *in, *weights, *init;
  float *out;
  int64_t in_step, out_step; /* from an image to the next */
  int accumulate;
} across_job;

/* One output pixel of P images, V vectors of filters. */
#define ACROSS_MICRO(V, P)                                                                       \
  static void across_##V##_##P(const across_job *job, int64_t image) {                           \
    vf sums[P][V], totals[P][V];                                                                 \
    const float *in = job->in + image * job->in_step;                                            \
    float *out = job->out + image * job->out_step;                                               \
    int64_t in_step = job->in_step, out_step = job->out_step, width = job->width;                \
    int flushed = 0;                                                                             \
    UNROLL for (int p = 0; p < P; ++p) UNROLL for (int v = 0; v < V; ++v) {                      \
      sums[p][v] = job->init != NULL ? load(job->init + v * LANES) : splat(0);                   \
      if (job->accumulate) sums[p][v] += load(out + p * out_step + v * LANES);                   \
    }                                                                                            \
    for (int64_t r = 0; r < job->count; ++r) {                                                   \
      const across_run *run = &job->runs[r];                                                     \
      const float *weights = job->weights + run->weights, *base[(P + 3) / 4];                    \
      UNROLL for (int q = 0; q < (P + 3) / 4; ++q) base[q] = in + run->in + 4 * q * in_step;     \
      for (int64_t k = run->length; k > 0; --k) {                                                \
        vf w[V];                                                                                 \
        UNROLL for (int v = 0; v < V; ++v) w[v] = load(weights + v * LANES);                     \
        UNROLL for (int p = 0; p < P; ++p) {                                                     \
          vf x = splat(base[p / 4][(p % 4) * in_step]);                                          \
          UNROLL for (int v = 0; v < V; ++v) sums[p][v] += x * w[v];                             \
        }                                                                                        \
        UNROLL for (int q = 0; q < (P + 3) / 4; ++q) base[q] += 1;                               \
        weights += width;                                                                        \
      }                                                                                          \
      if (!run->flush) continue;                                                                 \
      UNROLL for (int p = 0; p < P; ++p) UNROLL for (int v = 0; v < V; ++v) {                    \
        totals[p][v] = flushed ? totals[p][v] + sums[p][v] : sums[p][v];                         \
        sums[p][v] = splat(0);                                                                   \
      }                                                                                          \
      flushed = 1;                                                                               \
    }                                                                                            \
    UNROLL for (int p = 0; p < P; ++p) UNROLL for (int v = 0; v < V; ++v)                        \
        store(out + p * out_step + v * LANES, flushed ? totals[p][v] + sums[p][v] : sums[p][v]); \
  }

ACROSS_MICRO(2, 4)
ACROSS_MICRO(2, 1)
#if LANES == 16
ACROSS_MICRO(2, 12)
ACROSS_MICRO(2, 8)
ACROSS_MICRO(1, 12)
ACROSS_MICRO(1, 4)
ACROSS_MICRO(1, 1)
#endif

/* One output pixel of all images, `lanes` filters (at most SUBPANEL). */
static void across_images(const across_job *job, int64_t images, int64_t lanes) {
  int64_t i = 0;
#define IMAGES(V, P) \
  for (; i + P <= images; i += P) across_##V##_##P(job, i);
#if LANES == 16
  if (lanes == 32) {
    if (images % 12 < 4) IMAGES(2, 12)
    for (; images - i >= 12 && images - i != 16; i += 12) across_2_12(job, i);
    IMAGES(2, 8) IMAGES(2, 4) IMAGES(2, 1)
  } else {
    IMAGES(1, 12) IMAGES(1, 4) IMAGES(1, 1)
  }
#else
  (void)lanes;
  IMAGES(2, 4) IMAGES(2, 1)
#endif
#undef IMAGES
}

/* A convolution without padded copies: where its window reaches past the map, taps are left out. */
typedef struct across_shape {
  int64_t height, width, channels, out_height, out_width, filters;
  int64_t kernel_height, kernel_width, padding_height, padding_width;
} across_shape;

/* The runs of output pixel (y, x). They end, and sums are put aside, where micro_*_1 of
 * convolution_tiles.h does it, so that a batch of a few images gives the same bits. */
static int64_t across_runs(const across_shape *s, int64_t width, int64_t y, int64_t x,
                           across_run *runs) {
  int64_t count = 0, terms = 0, length = s->kernel_width * s->channels;
  int is_long = s->kernel_height * length > TERMS;
  for (int64_t ky = 0; ky < s->kernel_height; ++ky) {
    int64_t iy = y + ky - s->padding_height;
    for (int64_t at = 0, piece; at < length; at += piece) {
      piece = is_long ? gk_min(length - at, TERMS) : length - at;
      for (int64_t k = at, some; k < at + piece; k += some) {
        int64_t kx = k / s->channels, c = k % s->channels, ix = x + kx - s->padding_width;
        some = gk_min(s->channels - c, at + piece - k);
        if (iy < 0 || iy >= s->height || ix < 0 || ix >= s->width) continue;
        runs[count++] = (across_run){(iy * s->width + ix) * s->channels + c,
                                     (ky * length + k) * width, some, 0};
      }
      if (is_long && (terms += piece) >= TERMS) {
        if (count == 0) runs[count++] = (across_run){0, 0, 0, 0}; /* a bias is put aside too */
        runs[count - 1].flush = 1;
        terms = 0;
      }
    }
  }
  return count;
}

/* Output pixels of `images` images and the filters first to end - 1, both multiples of 16.
 * in: copied images, in_step floats from one to the next; weights: all panels. */
static void across_grid(const across_shape *s, const float *weights, const float *bias,
                        int64_t first, int64_t end, const float *in, int64_t in_step,
                        int64_t images, float *out, int accumulate) {
  across_run runs[ACROSS_RUNS];
  int64_t k = s->kernel_height * s->kernel_width * s->channels;
  across_job job = {.runs = runs, .in = in, .in_step = in_step, .accumulate = accumulate};
  job.out_step = s->out_height * s->out_width * s->filters;
  for (int64_t lane = first; lane < end; lane += GK_PANEL) {
    job.width = gk_panel_width(lane, s->filters);
    int64_t block = gk_min(job.width, SUBPANEL);
    for (int64_t y = 0; y < s->out_height; ++y)
      for (int64_t x = 0; x < s->out_width; ++x) {
        job.count = across_runs(s, job.width, y, x, runs);
        for (int64_t sub = 0; sub < job.width; sub += block) {
          job.weights = weights + lane * k + sub;
          job.init = bias != NULL ? bias + lane + sub : NULL;
          job.out = out + (y * s->out_width + x) * s->filters + lane + sub;
          across_images(&job, images, block);
        }
      }
  }
}

/* ---- forward: some images and filters ------------------------------------------------------ */

static void across_forward_tile(void *context, int64_t tile, int worker) {
  const gk_forward_job *job = context;
  const gk_convolution *s = job->shape;
  int64_t in = s->height * s->width * s->channels, out = s->out_height * s->out_width * s->filters;
  int64_t parts = gk_ceil_div(s->filters, GK_ACROSS_FILTERS), step = gk_across_step(in);
  int64_t image = tile / parts * gk_across_images(in), first = tile % parts * GK_ACROSS_FILTERS;
  int64_t images = gk_min(gk_across_images(in), s->n - image);
  int64_t end = gk_min(s->filters, first + GK_ACROSS_FILTERS);
  float *copied = job->scratch + worker * job->scratch_stride;
  for (int64_t i = 0; i < images; ++i)
    read_view(copied + i * step, s->channels, &job->in, (image + i) * in, s->channels,
              s->height * s->width, s->channels, 0);
  across_shape shape = {s->height,         s->width,        s->channels,      s->out_height,
                        s->out_width,      s->filters,      s->kernel_height, s->kernel_width,
                        s->padding_height, s->padding_width};
  across_grid(&shape, job->packed, job->bias, first, end, copied, step, images,
              job->out + image * out, 0);
  for (int64_t i = image; job->statistics != NULL && i < image + images; ++i)
    for (int64_t band = 0; band < job->bands; ++band) {
      int64_t rows = gk_min(job->band, s->out_height - band * job->band);
      float *statistics = job->statistics + (i * job->bands + band) * 2 * s->filters + first;
      moments(job->out + i * out + band * job->band * s->out_width * s->filters + first,
              rows * s->out_width, end - first, s->filters, statistics, statistics + s->filters);
    }
}

/* ---- backward: the input's gradient -------------------------------------------------------- */

/* That is a convolution of the output's gradient with the kernel turned round. */
static void across_input_tile(void *context, int64_t tile, int worker) {
  const gk_backward_job *job = context;
  const gk_convolution *s = job->shape;
  int64_t in = s->height * s->width * s->channels, out = s->out_height * s->out_width * s->filters;
  int64_t parts = gk_ceil_div(s->channels, GK_ACROSS_FILTERS), step = gk_across_step(out);
  int64_t image = tile / parts * gk_across_images(out), first = tile % parts * GK_ACROSS_FILTERS;
  int64_t images = gk_min(gk_across_images(out), s->n - image);
  int64_t end = gk_min(s->channels, first + GK_ACROSS_FILTERS);
  float *copied = job->scratch + worker * job->scratch_stride;
  for (int64_t i = 0; i < images; ++i)
    read_gradient(copied + i * step, s->filters, &job->gradient, (image + i) * out, s->filters,
                  s->out_height * s->out_width, s->filters, 0);
  across_shape shape = {s->out_height,
                        s->out_width,
                        s->filters,
                        s->height,
                        s->width,
                        s->channels,
                        s->kernel_height,
                        s->kernel_width,
                        s->kernel_height - 1 - s->padding_height,
                        s->kernel_width - 1 - s->padding_width};
  across_grid(&shape, job->packed, NULL, first, end, copied, step, images,
              job->input_gradient + image * in, job->accumulate);
}

/* ---- backward: the weights' gradient, apart ------------------------------------------------ */

/* Copies some images for the products; tiles of the input come first. */
static void apart_pack_tile(void *context, int64_t tile, int worker) {
  const gk_backward_job *job = context;
  const gk_convolution *s = job->shape;
  (void)worker;
  int64_t pixels = s->height * s->width, out_pixels = s->out_height * s->out_width;
  int64_t groups = gk_ceil_div(s->n, GK_APART_IMAGES), image = tile % groups * GK_APART_IMAGES;
  int64_t images = gk_min(GK_APART_IMAGES, s->n - image);
  if (tile < groups) {
    float *to = job->partial + image * pixels * GK_APART_CHANNELS;
    for (int64_t c = 0; c < s->channels; c += GK_APART_CHANNELS)
      read_view(to + c * s->n * pixels, GK_APART_CHANNELS, &job->in,
                image * pixels * s->channels + c, s->channels, images * pixels,
                gk_min(GK_APART_CHANNELS, s->channels - c), c);
    return;
  }
  float *to = job->partial + gk_apart_input(s) + image * out_pixels * GK_PANEL;
  int64_t at = image * out_pixels * s->filters;
  for (int64_t f = 0; f < s->filters; f += GK_PANEL) {
    int64_t live = gk_min(GK_PANEL, s->filters - f);
    float *panel = to + f * s->n * out_pixels;
    read_gradient(panel, GK_PANEL, &job->gradient, at + f, s->filters, images * out_pixels, live,
                  f);
    for (int64_t p = 0; live < GK_PANEL && p < images * out_pixels; ++p)
      memset(panel + p * GK_PANEL + live, 0, (size_t)(GK_PANEL - live) * sizeof(float));
  }
}

/* The output rows (or columns) whose tap k lies inside the map. */
static void inside_taps(int64_t in, int64_t out, int64_t stride, int64_t padding, int64_t k,
                        int64_t *first, int64_t *end) {
  *first = gk_max(0, gk_ceil_div(gk_max(0, padding - k), stride));
  *end = gk_min(out, in - 1 + padding - k < 0 ? 0 : (in - 1 + padding - k) / stride + 1);
}

/* Adds some images' products for a panel of filters, a block of channels and a tap. */
static void apart_products(const weight_pixels *pixels, const float *x, const float *d, float *to,
                           int64_t channels, int64_t step) {
  for (int64_t sub = 0; sub < GK_PANEL; sub += SUBPANEL) {
    int64_t j = 0;
#define WEIGHTS(V, J)               \
  for (; j + J <= channels; j += J) \
    weights_##V##_##J##_0(pixels, x + j, d + sub, to + j * step + sub, step);
#if LANES == 16
    if (channels % 12 < 8) WEIGHTS(2, 12)
    WEIGHTS(2, 8) WEIGHTS(2, 4) WEIGHTS(2, 1)
#else
    WEIGHTS(2, 4) WEIGHTS(2, 1)
#endif
#undef WEIGHTS
  }
}

/* A panel of filters and a block of channels, over all images. */
static void apart_weights_tile(void *context, int64_t tile, int worker) {
  const gk_backward_job *job = context;
  const gk_convolution *s = job->shape;
  int64_t pixels = s->height * s->width, out_pixels = s->out_height * s->out_width;
  int64_t blocks = gk_ceil_div(s->channels, GK_APART_CHANNELS);
  int64_t c = tile % blocks * GK_APART_CHANNELS, f = tile / blocks * GK_PANEL;
  int64_t channels = gk_min(GK_APART_CHANNELS, s->channels - c);
  int64_t filters = gk_min(GK_PANEL, s->filters - f), taps = s->kernel_height * s->kernel_width;
  const float *x = job->partial + c * s->n * pixels;
  const float *d = job->partial + gk_apart_input(s) + f * s->n * out_pixels;
  float *sums = job->scratch + worker * job->scratch_stride;
  memset(sums, 0, (size_t)(channels * taps * GK_PANEL) * sizeof(float));
  int64_t some = gk_max(1, GK_APART_PIXELS / out_pixels);
  for (int64_t image = 0; image < s->n; image += some)
    for (int64_t t = 0; t < taps; ++t) {
      int64_t ky = t / s->kernel_width, kx = t % s->kernel_width, y, x0, y_end, x_end;
      inside_taps(s->height, s->out_height, s->stride_height, s->padding_height, ky, &y, &y_end);
      inside_taps(s->width, s->out_width, s->stride_width, s->padding_width, kx, &x0, &x_end);
      if (y >= y_end || x0 >= x_end) continue;
      weight_pixels walk = {.images = gk_min(some, s->n - image),
                            .x_image = pixels * GK_APART_CHANNELS,
                            .d_image = out_pixels * GK_PANEL,
                            .rows = y_end - y,
                            .x_row = s->stride_height * s->width * GK_APART_CHANNELS,
                            .d_row = s->out_width * GK_PANEL,
                            .columns = x_end - x0,
                            .x_step = s->stride_width * GK_APART_CHANNELS,
                            .d_step = GK_PANEL};
      int64_t iy = y * s->stride_height + ky - s->padding_height;
      int64_t ix = x0 * s->stride_width + kx - s->padding_width;
      apart_products(&walk, x + image * walk.x_image + (iy * s->width + ix) * GK_APART_CHANNELS,
                     d + image * walk.d_image + (y * s->out_width + x0) * GK_PANEL,
                     sums + t * GK_PANEL, channels, taps * GK_PANEL);
    }
  for (int64_t i = 0; i < filters; ++i) {
    float *to = job->weights_gradient + ((f + i) * s->channels + c) * taps;
    for (int64_t k = 0; k < channels * taps; ++k) to[k] = sums[k * GK_PANEL + i];
  }
  if (c > 0 || job->bias_gradient == NULL) return;
  float bias[GK_PANEL] = {0};
  for (int64_t p = 0; p < s->n * out_pixels; ++p)
    for (int64_t i = 0; i < GK_PANEL; ++i) bias[i] += d[p * GK_PANEL + i];
  memcpy(job->bias_gradient + f, bias, (size_t)filters * sizeof(float));
}
