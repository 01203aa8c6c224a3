/* The kernels of batches and of the optimiser's side passes on random shapes and layouts, against
 * plain loops; meant to be compiled with the address and undefined-behaviour sanitizers
 * (test_kernels.py does), with every buffer of exactly its size.
 *
 *     batches SEED CASES     prints "CASES cases" or what was wrong
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "GraftKernels.h"

static float number(void) { return (float)rand() / (float)RAND_MAX - 0.5f; }
static int below(int limit) { return rand() % limit; }

static void *memory(int64_t count, size_t size) {
  void *result = malloc(count > 0 ? (size_t)count * size : 1);
  if (result == NULL) abort();
  return result;
}

/* Strides of image, channel, row, column: channels last, or planes with gaps between rows. Returns
 * the elements from the first to the last. */
static int64_t layout(int64_t strides[4], int64_t count, int64_t h, int64_t w, int64_t c) {
  int gap = below(3);
  if (below(2)) {
    strides[1] = 1, strides[3] = c, strides[2] = w * c, strides[0] = h * w * c;
  } else {
    strides[3] = 1, strides[2] = w + gap, strides[1] = h * (w + gap), strides[0] = c * strides[1];
  }
  return (count - 1) * strides[0] + (c - 1) * strides[1] + (h - 1) * strides[2] +
         (w - 1) * strides[3] + 1;
}

/* What an image shows at a place of its window. */
static float shown(const gk_images *from, int64_t sample, const gk_crop *crop, int64_t y, int64_t x,
                   int64_t c) {
  if (y >= crop->erased_top && y < crop->erased_top + crop->erased_height &&
      x >= crop->erased_left && x < crop->erased_left + crop->erased_width)
    return 0;
  y += crop->top;
  x = crop->left + (crop->flip ? from->width - 1 - x : x);
  if (y < 0 || x < 0 || y >= from->height || x >= from->width) return from->padding[c];
  int64_t at = ((sample * from->height + y) * from->width + x) * from->channels + c;
  if (from->bytes != NULL) return from->table[c * 256 + from->bytes[at]];
  return (float)((from->floats[at] - from->mean[c]) / from->deviation[c]);
}

static int batch_case(void) {
  int64_t h = 1 + below(9), w = 1 + below(9), c = 1 + below(5), count = 1 + below(6), all = 7;
  int64_t size = h * w * c, pixels = all * size;
  gk_images from = {.height = h, .width = w, .channels = c};
  uint8_t *bytes = memory(pixels, 1);
  float *floats = memory(pixels, sizeof(float)), *padding = memory(c, sizeof(float));
  float *table = memory(256 * c, sizeof(float));
  double *mean = memory(c, sizeof(double)), *deviation = memory(c, sizeof(double));
  for (int64_t i = 0; i < pixels; ++i) bytes[i] = (uint8_t)below(256), floats[i] = number();
  for (int64_t i = 0; i < 256 * c; ++i) table[i] = number();
  for (int64_t i = 0; i < c; ++i)
    padding[i] = number(), mean[i] = number(), deviation[i] = 1 + number();
  from.mean = mean, from.deviation = deviation, from.table = table, from.padding = padding;
  if (below(2)) from.bytes = bytes;
  else from.floats = floats;

  int64_t *samples = memory(count, sizeof(int64_t));
  gk_crop *crops = memory(count, sizeof(gk_crop));
  gk_mixed *mixed = memory(count, sizeof(gk_mixed));
  for (int64_t i = 0; i < count; ++i) {
    samples[i] = below((int)all);
    gk_crop crop = {below(25) - 12, below(25) - 12, below(2), 0, 0, 0, 0};
    crop.erased_height = below((int)h + 1), crop.erased_width = below((int)w + 1);
    crop.erased_top = below((int)h - crop.erased_height + 1);
    crop.erased_left = below((int)w - crop.erased_width + 1);
    crops[i] = crop;
    gk_mixed mix = {below((int)count), below(3) ? (double)number() + 0.5 : 1, 0, 0, 0, 0};
    if (below(2)) {
      mix.height = below((int)h + 1), mix.width = below((int)w + 1);
      mix.top = below((int)h - mix.height + 1), mix.left = below((int)w - mix.width + 1);
    }
    mixed[i] = mix;
  }
  int64_t plain[4] = {size, 1, w * c, c}, strides[4];
  int64_t extent = layout(strides, count, h, w, c);
  float *first = memory(count * size, sizeof(float)), *out = memory(extent, sizeof(float));
  int wrong = 0;
  gk_fill_batch(1, &from, samples, crops, count, out, strides);
  gk_fill_batch(1, &from, samples, crops, count, first, plain);
  for (int64_t i = 0; i < count; ++i)
    for (int64_t at = 0; at < size; ++at) {
      int64_t channel = at % c, x = at / c % w, y = at / c / w;
      float expected = shown(&from, samples[i], &crops[i], y, x, channel);
      wrong += first[i * size + at] != expected;
      wrong += out[i * strides[0] + channel * strides[1] + y * strides[2] + x * strides[3]] !=
               expected;
    }
  gk_mix_batch(1, first, mixed, count, h, w, c, out, strides);
  for (int64_t i = 0; i < count; ++i)
    for (int64_t at = 0; at < size; ++at) {
      const gk_mixed *mix = &mixed[i];
      int64_t channel = at % c, x = at / c % w, y = at / c / w;
      float own = first[i * size + at], other = first[mix->partner * size + at];
      double expected = own, room = 0; /* a compiler may fuse the mixture's sum otherwise */
      int inside = y >= mix->top && y < mix->top + mix->height && x >= mix->left &&
                   x < mix->left + mix->width;
      if (inside) expected = other;
      else if (mix->height == 0 && mix->share < 1)
        expected = mix->share * own + (1 - mix->share) * other, room = 1e-7;
      float found = out[i * strides[0] + channel * strides[1] + y * strides[2] + x * strides[3]];
      wrong += !(fabs(found - expected) <= room * (1 + fabs(expected)));
    }
  free(bytes), free(floats), free(padding), free(table), free(mean), free(deviation);
  free(samples), free(crops), free(mixed), free(first), free(out);
  return wrong;
}

static int optimiser_case(void) {
  int64_t count = below(4) ? below(70) : 1 + below(60000);
  float *a = memory(count, sizeof(float)), *b = memory(count, sizeof(float));
  float *old = memory(count, sizeof(float));
  double *scratch = memory(gk_square_tiles(count), sizeof(double));
  long double sum = 0;
  for (int64_t i = 0; i < count; ++i) {
    old[i] = a[i] = number(), b[i] = number();
    sum += (long double)a[i] * a[i];
  }
  int wrong = fabsl(gk_square_sum(1, a, count, scratch) - sum) > 1e-12L * (sum + 1e-30L);
  gk_average(1, a, b, 0.25f, count);
  for (int64_t i = 0; i < count; ++i)
    wrong += fabs(a[i] - (0.75 * old[i] + 0.25 * b[i])) > 1e-7;
  for (int64_t i = 0; i < count; ++i) a[i] = old[i], old[i] = b[i];
  gk_swap(a, b, count);
  wrong += count > 0 && memcmp(a, old, (size_t)count * sizeof *a) != 0;
  free(a), free(b), free(old), free(scratch);
  return wrong;
}

int main(int argc, char **argv) {
  int cases = argc > 2 ? atoi(argv[2]) : 100;
  srand(argc > 1 ? (unsigned)atoi(argv[1]) : 1);
  for (int i = 0; i < cases; ++i) {
    int batch = batch_case(), optimiser = optimiser_case();
    if (batch || optimiser) {
      printf("case %d: %d and %d elements are wrong\n", i, batch, optimiser);
      return 1;
    }
  }
  printf("%d cases\n", cases);
  return 0;
}
