/* The kernels of pooling, the parameterless shortcut, concatenation, dropout and layouts on random
 * shapes, against plain loops in float64; meant to be compiled with the address and
 * undefined-behaviour sanitizers (test_kernels.py does), with every buffer of exactly its size.
 *
 *     layers SEED CASES     prints "CASES cases" or what was wrong
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "GraftKernels.h"

/* Instead of memory.c: no room beyond what is asked for. */
void *gk_allocate(size_t count, size_t size) {
  void *memory = NULL;
  if (posix_memalign(&memory, 64, count > 0 ? count * size : 1) != 0) abort();
  return memset(memory, 0, count * size);
}
void gk_free(void *memory) { free(memory); }

enum { THREADS = 2 };

static float number(void) { return (float)rand() / (float)RAND_MAX - 0.5f; }
static int below(int limit) { return rand() % limit; }

static float *numbers(int64_t count) {
  float *memory = gk_allocate((size_t)count, sizeof(float));
  for (int64_t i = 0; i < count; ++i) memory[i] = number();
  return memory;
}

/* Few channels, or more than the widest vectors take at once. */
static int64_t some_channels(void) { return 1 + below(below(4) == 0 ? 150 : 20); }

static int wrong;

static void expect(const char *what, double found, double expected) {
  if (fabs(found - expected) <= 1e-5 * (1 + fabs(expected))) return;
  if (wrong++ < 5) printf("%s: %g in place of %g\n", what, found, expected);
}

/* ---- views ---- */

/* A view of `count` numbers with any of what a view may do. */
static gk_view make_view(int64_t count, int64_t channels) {
  gk_view view = {.x = numbers(count), .slope = 1};
  if (below(2)) view.scale = numbers(channels), view.shift = numbers(channels);
  if (below(2)) view.slope = below(2) ? 0 : 0.1f;
  if (view.slope == 0 && below(2)) view.ceiling = 0.2f;
  return view;
}

static void end_view(gk_view *view) {
  free((void *)view->x), free((void *)view->scale), free((void *)view->shift);
}

static double before_rectifier(const gk_view *view, int64_t at, int64_t c) {
  return view->scale ? (double)view->x[at] * view->scale[c] + view->shift[c] : view->x[at];
}

static double shown(const gk_view *view, int64_t at, int64_t c) {
  double v = before_rectifier(view, at, c);
  if (!(v > 0)) v *= view->slope;
  return view->ceiling > 0 && v > view->ceiling ? view->ceiling : v;
}

/* ---- pooling ---- */

static void pooling_case(void) {
  gk_pooling s = {.n = 1 + below(3), .height = 1 + below(13), .width = 1 + below(13)};
  s.channels = some_channels(), s.average = below(2);
  s.kernel = 1 + below(4), s.stride = 1 + below(3), s.padding = below((int)s.kernel / 2 + 1);
  int64_t rows = s.height + 2 * s.padding - s.kernel, columns = s.width + 2 * s.padding - s.kernel;
  if (rows < 0 || columns < 0) return;
  s.out_height = rows / s.stride + 1, s.out_width = columns / s.stride + 1;
  int64_t size = s.n * s.height * s.width * s.channels;
  int64_t out_size = s.n * s.out_height * s.out_width * s.channels;
  gk_view in = make_view(size, s.channels);
  float *out = numbers(out_size), *gradient = numbers(out_size), *to = numbers(size);
  int32_t *choice = gk_allocate((size_t)out_size, sizeof *choice);
  double *expected = calloc((size_t)size, sizeof *expected);
  int accumulate = below(2);
  for (int64_t i = 0; i < size; ++i) expected[i] = accumulate ? to[i] : 0;
  if (below(2)) gk_pool_forward(&s, THREADS, in, out, NULL);
  gk_pool_forward(&s, THREADS, in, out, choice);
  gk_pool_backward(&s, THREADS, gradient, s.average ? NULL : choice, to, accumulate);
  for (int64_t at = 0; at < out_size; ++at) {
    int64_t c = at % s.channels, pixel = at / s.channels;
    int64_t ox = pixel % s.out_width, oy = pixel / s.out_width % s.out_height;
    int64_t image = pixel / s.out_width / s.out_height;
    double sum = 0, most = -INFINITY, chosen = -INFINITY;
    for (int64_t y = oy * s.stride - s.padding; y < oy * s.stride - s.padding + s.kernel; ++y)
      for (int64_t x = ox * s.stride - s.padding; x < ox * s.stride - s.padding + s.kernel; ++x) {
        if (y < 0 || x < 0 || y >= s.height || x >= s.width) continue;
        int64_t from = ((image * s.height + y) * s.width + x) * s.channels + c;
        double v = shown(&in, from, c);
        sum += v, most = fmax(most, v);
        if (s.average) {
          expected[from] += (double)gradient[at] / (double)(s.kernel * s.kernel);
        } else if (choice[at] == y * s.width + x) {
          chosen = v, expected[from] += gradient[at];
        }
      }
    expect("pooled", out[at], s.average ? sum / (double)(s.kernel * s.kernel) : most);
    if (!s.average) expect("the chosen one", chosen, most);
  }
  for (int64_t i = 0; i < size; ++i) expect("pooling's gradient", to[i], expected[i]);
  end_view(&in), free(out), free(gradient), free(to), free(choice), free(expected);
}

static void global_case(void) {
  int64_t n = 1 + below(3), pixels = 1 + below(70), channels = some_channels();
  int64_t size = n * pixels * channels;
  gk_view in = make_view(size, channels);
  float *out = numbers(n * channels), *to = numbers(size);
  int accumulate = below(2);
  gk_global_pool_forward(THREADS, in, out, n, pixels, channels);
  double *expected = calloc((size_t)(n * channels), sizeof *expected);
  for (int64_t i = 0; i < size; ++i)
    expected[i / channels / pixels * channels + i % channels] +=
        shown(&in, i, i % channels) / (double)pixels;
  for (int64_t i = 0; i < n * channels; ++i) expect("global mean", out[i], expected[i]);
  float *was = gk_allocate((size_t)size, sizeof *was);
  memcpy(was, to, (size_t)size * sizeof *was);
  gk_global_pool_backward(THREADS, out, to, accumulate, n, pixels, channels);
  for (int64_t i = 0; i < size; ++i)
    expect("the global mean's gradient", to[i],
           (accumulate ? was[i] : 0) +
               (double)out[i / channels / pixels * channels + i % channels] / (double)pixels);
  end_view(&in), free(out), free(to), free(expected), free(was);
}

static void shortcut_case(void) {
  gk_shortcut s = {.n = 1 + below(3), .height = 1 + below(9), .width = 1 + below(9)};
  s.channels = some_channels(), s.stride = 1 + below(3);
  s.out_height = (s.height - 1) / s.stride + 1, s.out_width = (s.width - 1) / s.stride + 1;
  int64_t more = below(20);
  s.out_channels = s.channels + more, s.first = more / 2;
  int64_t size = s.n * s.height * s.width * s.channels;
  int64_t out_size = s.n * s.out_height * s.out_width * s.out_channels;
  gk_view in = make_view(size, s.channels);
  float *out = numbers(out_size), *gradient = numbers(out_size), *to = numbers(size);
  double *expected = calloc((size_t)size, sizeof *expected);
  int accumulate = below(2);
  for (int64_t i = 0; i < size; ++i) expected[i] = accumulate ? to[i] : 0;
  gk_shortcut_forward(&s, THREADS, in, out);
  gk_shortcut_backward(&s, THREADS, gradient, to, accumulate);
  for (int64_t at = 0; at < out_size; ++at) {
    int64_t c = at % s.out_channels - s.first, pixel = at / s.out_channels;
    int64_t x = pixel % s.out_width * s.stride, y = pixel / s.out_width % s.out_height * s.stride;
    int64_t image = pixel / s.out_width / s.out_height;
    if (c < 0 || c >= s.channels) {
      expect("a channel of zeros", out[at], 0);
      continue;
    }
    int64_t from = ((image * s.height + y) * s.width + x) * s.channels + c;
    expect("shortcut", out[at], shown(&in, from, c));
    expected[from] += gradient[at];
  }
  for (int64_t i = 0; i < size; ++i) expect("the shortcut's gradient", to[i], expected[i]);
  end_view(&in), free(out), free(gradient), free(to), free(expected);
}

/* ---- concatenation ---- */

static void concatenation_case(void) {
  enum { most = 5 };
  int64_t pixels = 1 + below(300), count = 1 + below(most), channels = 0;
  if (below(3) == 0) pixels = 1 + below(4000); /* several tiles */
  gk_part parts[most];
  for (int64_t i = 0; i < count; ++i) {
    parts[i].channels = some_channels();
    if (below(20) == 0) parts[i].channels = 1 + below(5000), pixels = 1 + below(20);
    channels += parts[i].channels;
  }
  if (pixels * channels > 400000) pixels = 400000 / channels;
  for (int64_t i = 0; i < count; ++i)
    parts[i].in = make_view(pixels * parts[i].channels, parts[i].channels);
  int64_t size = pixels * channels, tiles = gk_pixel_tiles(pixels, channels);
  float *out = numbers(size), *statistics = numbers(tiles * 2 * channels);
  gk_concatenate_forward(THREADS, parts, count, out, below(2) ? statistics : NULL, pixels,
                         channels);
  for (int64_t i = 0, first = 0; i < count; first += parts[i++].channels)
    for (int64_t at = 0; at < pixels * parts[i].channels; ++at) {
      int64_t c = at % parts[i].channels, pixel = at / parts[i].channels;
      expect("concatenation", out[pixel * channels + first + c], shown(&parts[i].in, at, c));
    }
  gk_concatenate_forward(THREADS, parts, count, out, statistics, pixels, channels);
  int64_t each = gk_tile_pixels(channels);
  for (int64_t c = 0; c < channels; ++c) {
    int64_t tile = below((int)tiles), end = (tile + 1) * each < pixels ? (tile + 1) * each : pixels;
    double mean = 0, squares = 0, many = (double)(end - tile * each);
    for (int64_t p = tile * each; p < end; ++p) mean += out[p * channels + c] / many;
    for (int64_t p = tile * each; p < end; ++p) {
      double off = out[p * channels + c] - mean;
      squares += off * off;
    }
    expect("a tile's mean", statistics[tile * 2 * channels + c], mean);
    expect("a tile's squares", statistics[tile * 2 * channels + channels + c], squares);
  }

  gk_gradient_view gradient = {.g = numbers(size), .value = {.slope = 1}};
  if (below(2)) gradient.value = make_view(size, channels);
  if (below(2)) {
    if (gradient.value.x == NULL) gradient.value.x = numbers(size);
    gradient.a = numbers(channels), gradient.b = numbers(channels), gradient.c = numbers(channels);
  }
  gk_gradient_part to[most];
  float *was[most];
  for (int64_t i = 0; i < count; ++i) {
    int64_t own = pixels * parts[i].channels;
    to[i] = (gk_gradient_part){below(5) ? numbers(own) : NULL, below(2), parts[i].channels};
    was[i] = gk_allocate((size_t)own, sizeof(float));
    if (to[i].to != NULL) memcpy(was[i], to[i].to, (size_t)own * sizeof(float));
  }
  gk_concatenate_backward(THREADS, gradient, to, count, pixels, channels);
  for (int64_t i = 0, first = 0; i < count; first += parts[i++].channels)
    for (int64_t own = 0; to[i].to != NULL && own < pixels * parts[i].channels; ++own) {
      int64_t c = first + own % parts[i].channels, at = own / parts[i].channels * channels + c;
      const gk_view *value = &gradient.value;
      double m = gradient.g[at], x = value->x != NULL ? value->x[at] : 0;
      if (value->x != NULL) {
        double v = before_rectifier(value, at, c), ceiling = value->ceiling;
        if (fabs(v) < 1e-6 || (ceiling > 0 && fabs(v - ceiling) < 1e-6)) continue; /* at a kink */
        if (!(v > 0)) m *= value->slope;
        if (ceiling > 0 && v >= ceiling) m = 0;
      }
      if (gradient.a != NULL) m = gradient.a[c] * m + gradient.b[c] * x + gradient.c[c];
      expect("concatenation's gradient", to[i].to[own], (to[i].accumulate ? was[i][own] : 0) + m);
    }
  for (int64_t i = 0; i < count; ++i) end_view(&parts[i].in), free(to[i].to), free(was[i]);
  end_view(&gradient.value), free((void *)gradient.g), free((void *)gradient.a);
  free((void *)gradient.b), free((void *)gradient.c), free(out), free(statistics);
}

/* ---- dropout ---- */

/* Word e of Philox4x32-10's stream, written as the paper has it. */
static uint32_t philox(const gk_dropout *s, int64_t image, int64_t e) {
  uint32_t c[4] = {(uint32_t)(e / 4), s->layer, (uint32_t)image, 0};
  uint32_t key[2] = {s->key[0], s->key[1]};
  for (int round = 0; round < 10; ++round) {
    uint64_t a = (uint64_t)0xD2511F53u * c[0], b = (uint64_t)0xCD9E8D57u * c[2];
    uint32_t next[4] = {(uint32_t)(b >> 32) ^ c[1] ^ key[0], (uint32_t)b,
                        (uint32_t)(a >> 32) ^ c[3] ^ key[1], (uint32_t)a};
    memcpy(c, next, sizeof c);
    key[0] += 0x9E3779B9u, key[1] += 0xBB67AE85u;
  }
  return c[e % 4];
}

static void dropout_case(void) {
  gk_dropout s = {.n = 1 + below(3), .pixels = 1 + below(60), .channels = some_channels()};
  if (below(6) == 0) s.pixels = 1 + below(9000); /* several tiles */
  if (s.n * s.pixels * s.channels > 200000) s.pixels = 1;
  s.key[0] = (uint32_t)rand(), s.key[1] = (uint32_t)rand(), s.layer = (uint32_t)below(9);
  s.threshold = below(4) ? (uint32_t)rand() : 0, s.scale = 1.5f;
  int64_t each = s.pixels * s.channels, size = s.n * each;
  gk_view in = make_view(size, s.channels);
  float *out = numbers(size), *gradient = numbers(size), *was = numbers(size);
  memcpy(was, gradient, (size_t)size * sizeof *was);
  gk_dropout_forward(&s, THREADS, in, out);
  gk_dropout_backward(&s, THREADS, gradient);
  for (int64_t i = 0; i < size; ++i) {
    double factor = philox(&s, i / each, i % each) >= s.threshold ? s.scale : 0;
    expect("dropout", out[i], shown(&in, i, i % s.channels) * factor);
    expect("dropout's gradient", gradient[i], was[i] * factor);
  }
  end_view(&in), free(out), free(gradient), free(was);
}

/* ---- layouts ---- */

static void layout_case(void) {
  int64_t n = 1 + below(3), h = 1 + below(7), w = 1 + below(7), c = 1 + below(9), gap = below(3);
  int64_t strides[4] = {0, 1, 0, c + gap};
  strides[2] = w * strides[3] + gap, strides[0] = h * strides[2];
  if (below(2))
    strides[3] = 1 + gap, strides[2] = w * strides[3], strides[1] = h * strides[2] + gap,
    strides[0] = c * strides[1];
  int64_t extent =
      (n - 1) * strides[0] + (c - 1) * strides[1] + (h - 1) * strides[2] + (w - 1) * strides[3] + 1;
  float *from = numbers(extent), *to = numbers(n * h * w * c), *back = numbers(extent);
  gk_gather_images(THREADS, from, strides, to, n, h, w, c);
  gk_scatter_images(THREADS, to, back, strides, n, h, w, c);
  for (int64_t at = 0; at < n * h * w * c; ++at) {
    int64_t image = at / c / w / h, row = at / c / w % h, column = at / c % w, channel = at % c;
    int64_t there =
        image * strides[0] + channel * strides[1] + row * strides[2] + column * strides[3];
    expect("gathered", to[at], from[there]);
    expect("scattered", back[there], from[there]);
  }
  free(from), free(to), free(back);
}

int main(int count, char **arguments) {
  if (count != 3) return 2;
  srand((unsigned)atoi(arguments[1]));
  int cases = atoi(arguments[2]);
  for (int done = 0; done < cases && wrong == 0; ++done) {
    pooling_case(), global_case(), shortcut_case();
    concatenation_case(), dropout_case(), layout_case();
  }
  if (wrong == 0) printf("%d cases\n", cases);
  return wrong != 0;
}
