/* The convolution kernels on random shapes, against plain loops in float64; meant to be compiled
 * with the address and undefined-behaviour sanitizers (test_kernels.py does), with every buffer of
 * exactly the size that the kernels ask for and scratch memory full of NaN.
 *
 *     convolutions SEED CASES     prints "CASES cases" or what was wrong
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "GraftKernels.h"

/* Instead of memory.c: no room beyond what is asked for, so that the sanitizer sees every overrun.
 */
void *gk_allocate(size_t count, size_t size) {
  void *memory = NULL;
  if (posix_memalign(&memory, 64, count > 0 ? count * size : 1) != 0) abort();
  return memset(memory, 0, count * size);
}
void gk_free(void *memory) { free(memory); }

/* Of so few digits that a scaled and shifted one is exact in float32: which way it is rounded to
 * bfloat16 then never hangs on an instruction set's rounding to float32. */
static float number(void) { return (float)(rand() % 1025 - 512) / 1024; }
static int below(int limit) { return rand() % limit; }

static float *numbers(int64_t count) {
  float *memory = gk_allocate((size_t)count, sizeof(float));
  for (int64_t i = 0; i < count; ++i) memory[i] = number();
  return memory;
}

/* The largest difference, as a share of the largest value. */
static double distance(const float *ours, const double *exact, int64_t count) {
  double far = 0, most = 1e-2;
  for (int64_t i = 0; i < count; ++i) {
    double difference = fabs(ours[i] - exact[i]);
    if (!(difference <= far)) far = isnan(difference) ? INFINITY : difference;
    most = fmax(most, fabs(exact[i]));
  }
  return far / most;
}

/* The nearest number of eight binary digits, the even one of two. */
static double rounded(double value, int rounds) {
  int exponent;
  double fraction = frexp(value, &exponent);
  return rounds ? ldexp(nearbyint(ldexp(fraction, 8)), exponent - 8) : value;
}

/* Numbers in bfloat16, and what they are. */
static uint16_t *halved(const float *from, int64_t count) {
  uint16_t *halves = gk_allocate((size_t)count, sizeof *halves);
  for (int64_t i = 0; i < count; ++i) {
    float value = (float)rounded(from[i], 1);
    memcpy(&halves[i], (char *)&value + 2, 2);
  }
  return halves;
}
static float widened(uint16_t half) {
  float value = 0;
  memcpy((char *)&value + 2, &half, 2);
  return value;
}

typedef struct reference {
  double *out, *input, *weights, *bias;
} reference;

static void compute(const gk_convolution *s, gk_view in, const float *weights, const float *bias,
                    const float *gradient, int rounds, reference *to) {
  int64_t channels = s->channels / s->groups, filters = s->filters / s->groups;
  int64_t kernel = s->kernel_height * s->kernel_width;
  for (int64_t n = 0; n < s->n; ++n)
    for (int64_t oy = 0; oy < s->out_height; ++oy)
      for (int64_t ox = 0; ox < s->out_width; ++ox)
        for (int64_t f = 0; f < s->filters; ++f) {
          int64_t o = ((n * s->out_height + oy) * s->out_width + ox) * s->filters + f;
          int64_t group = f / filters;
          double sum = bias[f];
          double d = rounded(gradient[o], rounds);
          to->bias[f] += d;
          for (int64_t t = 0; t < kernel; ++t) {
            int64_t y = oy * s->stride_height + t / s->kernel_width * s->dilation_height -
                        s->padding_height;
            int64_t x =
                ox * s->stride_width + t % s->kernel_width * s->dilation_width - s->padding_width;
            if (y < 0 || x < 0 || y >= s->height || x >= s->width) continue;
            for (int64_t c = 0; c < channels; ++c) {
              int64_t channel = group * channels + c;
              int64_t i = ((n * s->height + y) * s->width + x) * s->channels + channel;
              int64_t w = (f * channels + c) * kernel + t;
              float read = in.x[i];
              if (in.scale != NULL) read = read * in.scale[channel] + in.shift[channel];
              if (!(read > 0)) read *= in.slope;
              double value = rounded(read, rounds), weight = rounded(weights[w], rounds);
              sum += value * weight;
              to->input[i] += weight * d;
              to->weights[w] += value * d;
            }
          }
          to->out[o] = sum;
        }
}

/* The kernels that compute a convolution. */
typedef struct kernels {
  int rounds; /* whether it obeys bfloat16 */
  size_t packed, backward, scratch, partial;
  int64_t tiles;
  void (*pack)(const gk_convolution *, int, const float *, float *);
  void (*pack_backward)(const gk_convolution *, int, const float *, float *);
  void (*forward)(const gk_convolution *, int, gk_view, const float *, const float *, float *,
                  float *, float *);
  void (*run_backward)(const gk_convolution *, int, gk_view, gk_gradient_view, const float *,
                       float *, int, gk_gradient_sums, float *, float *, float *, float *);
  int64_t sum_tiles;
  int grouped;
} kernels;

static kernels kernels_of(const gk_convolution *s, int grouped) {
  if (gk_is_depthwise(s))
    return (kernels){0,
                     gk_depthwise_packed_size(s),
                     gk_depthwise_packed_size(s),
                     gk_depthwise_scratch_size(s),
                     gk_depthwise_partial_size(s),
                     gk_depthwise_tiles(s),
                     gk_depthwise_pack,
                     gk_depthwise_pack,
                     gk_depthwise_forward,
                     gk_depthwise_backward,
                     gk_depthwise_sum_tiles(s)};
  if (grouped)
    return (kernels){0,
                     gk_grouped_packed_size(s),
                     gk_grouped_packed_size(s),
                     gk_grouped_scratch_size(s),
                     gk_grouped_partial_size(s),
                     gk_grouped_tiles(s),
                     gk_grouped_pack,
                     gk_grouped_pack_backward,
                     gk_grouped_forward,
                     gk_grouped_backward,
                     0,
                     1};
  int wide = s->channels / s->groups >= 16 && s->filters / s->groups >= 16;
  int small = s->kernel_height * s->kernel_width > 1 && s->out_height * s->out_width <= 16;
  return (kernels){s->bfloat16 && wide && !small,
                   gk_convolution_packed_size(s),
                   gk_convolution_packed_backward_size(s),
                   gk_convolution_scratch_size(s),
                   gk_convolution_partial_size(s),
                   gk_convolution_tiles(s),
                   gk_convolution_pack,
                   gk_convolution_pack_backward,
                   gk_convolution_forward,
                   gk_convolution_backward,
                   gk_convolution_sum_tiles(s)};
}

static kernels kernels_for(const gk_convolution *s) {
  return kernels_of(s, gk_is_grouped(s) && !gk_is_depthwise(s) && below(4) > 0);
}

/* How far the sums for a batch norm are off, of the gradient that a backward pass has made: those
 * of m and m (x - mean), m the gradient before the rectifier. */
static double sums_distance(const gk_view *in, int64_t pixels, int64_t channels, const float *mean,
                            const float *sums, int64_t tiles, const double *gradient) {
  double *exact = calloc((size_t)(2 * channels), sizeof(double));
  float *joined = calloc((size_t)(2 * channels), sizeof(float));
  for (int64_t i = 0; i < pixels * channels; ++i) {
    int64_t c = i % channels;
    float v = in->x[i];
    if (in->scale != NULL) v = v * in->scale[c] + in->shift[c];
    double m = v > 0 ? gradient[i] : gradient[i] * in->slope;
    exact[c] += m;
    exact[channels + c] += m * ((double)in->x[i] - mean[c]);
  }
  for (int64_t i = 0; i < tiles * 2 * channels; ++i) joined[i % (2 * channels)] += sums[i];
  double far = distance(joined, exact, 2 * channels);
  free(exact), free(joined);
  return far;
}

/* The forward pass of kernels that round their output to bfloat16: the halves of what they put out
 * otherwise. Leaves the output in *halves. */
static int halves_wrong(gk_convolution s, kernels k, gk_view in, const float *packed,
                        const float *bias, const float *out, uint16_t **halves) {
  int64_t count = s.n * s.out_height * s.out_width * s.filters;
  s.halves = 1;
  k = kernels_of(&s, k.grouped);
  *halves = gk_allocate((size_t)count, sizeof **halves);
  float *scratch = gk_allocate(2 * k.scratch, sizeof(float));
  for (size_t i = 0; i < 2 * k.scratch; ++i) scratch[i] = NAN;
  float *statistics = numbers(k.tiles * 2 * s.filters);
  k.forward(&s, 2, in, packed, bias, (float *)*halves, statistics, scratch);
  uint16_t *expected = halved(out, count);
  int wrong = memcmp(*halves, expected, (size_t)count * sizeof *expected) != 0;
  gk_free(scratch), gk_free(statistics), gk_free(expected);
  return wrong;
}

static int check(const gk_convolution *s, int rectified) {
  kernels k = kernels_for(s);
  int64_t in_count = s->n * s->height * s->width * s->channels;
  int64_t out_count = s->n * s->out_height * s->out_width * s->filters;
  int64_t weight_count =
      s->filters * (s->channels / s->groups) * s->kernel_height * s->kernel_width;
  float *x = numbers(in_count), *weights = numbers(weight_count), *bias = numbers(s->filters);
  float *gradient = numbers(out_count), *scale = numbers(s->channels),
        *shift = numbers(s->channels);
  float *out = numbers(out_count), *input = numbers(in_count);
  float *weights_gradient = numbers(weight_count), *bias_gradient = numbers(s->filters);
  int accumulate = below(2);
  for (int64_t i = 0; i < in_count; ++i) input[i] = 1; /* what the gradient is added to */
  float *mean = numbers(s->channels), *sums = numbers(k.sum_tiles * 2 * s->channels);
  gk_gradient_sums wanted = {mean, !accumulate && k.sum_tiles > 0 && below(4) > 0 ? sums : NULL};
  size_t scratch_size = 2 * k.scratch;
  float *scratch = gk_allocate(scratch_size, sizeof(float));
  for (size_t i = 0; i < scratch_size; ++i) scratch[i] = NAN;
  float *statistics = numbers(k.tiles * 2 * s->filters);
  float *packed = numbers((int64_t)k.packed), *backward = numbers((int64_t)k.backward);
  float *partial = numbers((int64_t)k.partial);
  gk_view in = {x, rectified ? scale : NULL, rectified ? shift : NULL, rectified ? 0.1f : 1};
  gk_gradient_view view = {gradient, {NULL, NULL, NULL, 1}, NULL, NULL, NULL};
  int reads_halves = below(3) == 0;
  uint16_t *read = halved(x, reads_halves ? in_count : 0), *written = NULL;
  gk_view shown = in;
  if (reads_halves) {
    for (int64_t i = 0; i < in_count; ++i) x[i] = widened(read[i]);
    shown.x = (const float *)read, shown.halves = 1;
  }
  k.pack(s, 2, weights, packed);
  k.pack_backward(s, 2, weights, backward);
  k.forward(s, 2, shown, packed, bias, out, statistics, scratch);
  int wrong = 0;
  /* A gradient on its way through a batch norm of the output in halves. (Where it is rounded, of
   * few digits.) */
  float *through[3] = {numbers(s->filters), numbers(s->filters), numbers(s->filters)};
  float *passed = numbers(out_count);
  if (gk_is_depthwise(s) || (!k.grouped && gk_convolution_can_halve(s))) {
    if (halves_wrong(*s, k, shown, packed, bias, out, &written) && (wrong = 1))
      printf("the output in bfloat16 is not the rounded one\n");
    for (int64_t f = 0; k.rounds && f < s->filters; ++f)
      through[0][f] = 0.5f, through[1][f] = 0, through[2][f] = 0.25f;
    view = (gk_gradient_view){gradient,
                              {(const float *)written, NULL, NULL, 0.5f, 0, 1},
                              through[0],
                              through[1],
                              through[2]};
    for (int64_t i = 0; i < out_count; ++i) {
      float v = widened(written[i]), m = v > 0 ? gradient[i] : gradient[i] * 0.5f;
      int64_t f = i % s->filters;
      passed[i] = through[0][f] * m + (through[1][f] * v + through[2][f]);
    }
  } else {
    memcpy(passed, gradient, (size_t)out_count * sizeof *passed);
  }
  k.run_backward(s, 2, shown, view, backward, input, accumulate, wanted, weights_gradient,
                 bias_gradient, partial, scratch);
  reference exact = {
      calloc((size_t)out_count, sizeof(double)), calloc((size_t)in_count, sizeof(double)),
      calloc((size_t)weight_count, sizeof(double)), calloc((size_t)s->filters, sizeof(double))};
  for (int64_t i = 0; i < in_count; ++i) exact.input[i] = accumulate;
  compute(s, in, weights, bias, passed, k.rounds, &exact);
  const char *names[] = {"output", "input gradient", "weight gradient", "bias gradient",
                         "sum for the batch norm"};
  double far[] = {distance(out, exact.out, out_count), distance(input, exact.input, in_count),
                  distance(weights_gradient, exact.weights, weight_count),
                  distance(bias_gradient, exact.bias, s->filters), 0};
  if (wanted.sums != NULL)
    far[4] = sums_distance(&in, s->n * s->height * s->width, s->channels, mean, sums, k.sum_tiles,
                           exact.input);
  for (int i = 0; i < 5; ++i) {
    if (far[i] <= 2e-5) continue;
    wrong = 1;
    printf(
        "%s is off by %g: n %d, %d x %d x %d -> %d filters, kernel %d x %d, stride %d x %d, "
        "padding %d x %d, dilation %d x %d, groups %d, %s\n",
        names[i], far[i], (int)s->n, (int)s->channels, (int)s->height, (int)s->width,
        (int)s->filters, (int)s->kernel_height, (int)s->kernel_width, (int)s->stride_height,
        (int)s->stride_width, (int)s->padding_height, (int)s->padding_width,
        (int)s->dilation_height, (int)s->dilation_width, (int)s->groups,
        k.rounds ? "bfloat16" : "float32");
  }
  float *all[] = {x,       weights,    bias,   gradient,         scale,
                  shift,   out,        input,  weights_gradient, bias_gradient,
                  scratch, statistics, packed, backward,         partial,
                  mean,    sums};
  for (size_t i = 0; i < sizeof all / sizeof *all; ++i) gk_free(all[i]);
  for (int i = 0; i < 3; ++i) gk_free(through[i]);
  gk_free(passed), gk_free(read), gk_free(written);
  free(exact.out), free(exact.input), free(exact.weights), free(exact.bias);
  return wrong;
}

/* A random shape; 0 where the window does not fit. */
static int draw(gk_convolution *s) {
  int groups = below(3) == 0 ? 1 + below(3) : 1;
  int channels = 1 + below(below(4) == 0 ? 70 : 18), filters = 1 + below(below(4) == 0 ? 70 : 18);
  if (below(4) == 0) channels = filters = 16 * (1 + below(3));
  if (below(4) == 0) groups = 2 + below(80), channels = filters = 1; /* depthwise */
  if (below(5) == 0) {                                               /* narrow groups */
    channels = filters = 4 << below(3);
    groups = 16 / channels * (1 + below(6));
  }
  *s = (gk_convolution){.n = 1 + below(5), .height = 1 + below(12), .width = 1 + below(24)};
  s->channels = channels * groups, s->filters = filters * groups, s->groups = groups;
  s->kernel_height = 1 + below(4), s->kernel_width = below(2) ? 3 : 1 + below(4);
  s->stride_height = 1 + below(3), s->stride_width = below(2) ? 1 : 1 + below(3);
  s->padding_height = below(3), s->padding_width = below(3);
  s->dilation_height = 1 + below(2), s->dilation_width = below(2) ? 1 : 2;
  if (below(4) == 0) { /* Winograd's way */
    s->height = 2 * (1 + below(9)), s->width = 2 * (1 + below(17)), s->groups = 1;
    s->channels = 16 * (1 + below(5)), s->filters = 16 * (1 + below(5));
    s->kernel_height = s->kernel_width = 3, s->stride_height = s->stride_width = 1;
    s->padding_height = s->padding_width = s->dilation_height = s->dilation_width = 1;
  }
  if (below(6) == 0) { /* small maps, across images */
    s->n = 4 + below(below(3) == 0 ? 60 : 12), s->groups = 1;
    s->height = 1 + below(4), s->width = 1 + below(4);
    s->channels = 16 * (2 + below(5)), s->filters = 16 * (2 + below(5));
    s->kernel_height = 1 + below(4), s->kernel_width = 2 + below(2);
    s->padding_height = below((int)s->kernel_height);
    s->padding_width = below((int)s->kernel_width);
    s->stride_height = s->stride_width = 1 + (below(5) == 0);
    s->dilation_height = s->dilation_width = 1;
  }
  if (below(8) == 0) { /* many weights, few pixels */
    s->n = 1 + below(5), s->groups = 1;
    s->height = 1 + below(9), s->width = 1 + below(9);
    s->channels = 16 * (1 + below(30)), s->filters = 16 * (1 + below(30));
    if (below(4) == 0) ++s->channels;
    if (below(4) == 0) --s->filters;
    s->kernel_height = below(3) == 0 ? 3 : 1, s->kernel_width = below(3) == 0 ? 3 : 1;
    s->stride_height = s->stride_width = 1 + below(2);
    if (below(2)) s->kernel_height = s->kernel_width = s->stride_height = s->stride_width = 1;
    s->padding_height = (s->kernel_height - 1) / 2, s->padding_width = (s->kernel_width - 1) / 2;
    s->dilation_height = s->dilation_width = 1;
  }
  if (below(8) == 0) { /* few filters */
    s->groups = 1, s->channels = 32 + below(80), s->filters = 1 + below(12);
    s->kernel_width = 2 + below(2), s->dilation_width = 1;
  }
  if (below(8) == 0) { /* single pixels */
    s->groups = 1, s->channels = 1 + below(below(3) == 0 ? 300 : 60), s->filters = 1 + below(70);
    if (below(2)) s->channels = 16 * (1 + below(12));
    if (below(3) == 0) { /* of which the input's gradient is made by another pass (flat_plan.h) */
      s->channels = 16 * (12 + below(5)), s->filters = 16 * (6 + below(3));
      s->height = 1 + below(9), s->width = 1 + below(9);
    }
    s->kernel_height = s->kernel_width = s->stride_height = s->stride_width = 1;
    s->padding_height = s->padding_width = 0;
  }
  if (below(14) == 0) { /* Winograd's way for many channels: up to two parts of a sum, odd maps */
    int many = 16 * (9 + below(28)), few = 16 * (2 + below(3)), turned = below(2);
    s->n = 1 + below(many < 300 ? 5 : 3), s->groups = 1;
    s->height = 2 + below(many < 200 ? 18 : 8), s->width = 2 + below(many < 200 ? 18 : 8);
    s->channels = turned ? few : many, s->filters = turned ? many : few;
    s->kernel_height = s->kernel_width = 3, s->stride_height = s->stride_width = 1;
    s->padding_height = s->padding_width = s->dilation_height = s->dilation_width = 1;
  }
  int64_t rows =
      s->height + 2 * s->padding_height - s->dilation_height * (s->kernel_height - 1) - 1;
  int64_t columns = s->width + 2 * s->padding_width - s->dilation_width * (s->kernel_width - 1) - 1;
  s->out_height = rows / s->stride_height + 1, s->out_width = columns / s->stride_width + 1;
  s->bfloat16 = below(2);
  return rows >= 0 && columns >= 0;
}

int main(int count, char **arguments) {
  if (count != 3) return 2;
  srand((unsigned)atoi(arguments[1]));
  int wrong = 0, cases = atoi(arguments[2]);
  for (int done = 0; done < cases && wrong < 5;) {
    gk_convolution shape;
    if (!draw(&shape)) continue;
    wrong += check(&shape, below(2));
    ++done;
  }
  if (wrong == 0) printf("%d cases\n", cases);
  return wrong != 0;
}
