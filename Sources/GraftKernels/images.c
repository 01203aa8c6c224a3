#include <math.h>

#include "graft_batch.h"

void gk_take_bytes(const uint8_t *from, const int64_t shape[4], const int64_t strides[4],
                   uint8_t *to) {
  for (int64_t n = 0; n < shape[0]; ++n)
    for (int64_t y = 0; y < shape[2]; ++y)
      for (int64_t x = 0; x < shape[3]; ++x) {
        const uint8_t *pixel = from + n * strides[0] + y * strides[2] + x * strides[3];
        for (int64_t c = 0; c < shape[1]; ++c) *to++ = pixel[c * strides[1]];
      }
}

int64_t gk_take_floats(const float *from, const int64_t shape[4], const int64_t strides[4],
                       float *to) {
  int64_t bad = -1, index = 0;
  for (int64_t n = 0; n < shape[0]; ++n)
    for (int64_t y = 0; y < shape[2]; ++y)
      for (int64_t x = 0; x < shape[3]; ++x) {
        const float *pixel = from + n * strides[0] + y * strides[2] + x * strides[3];
        for (int64_t c = 0; c < shape[1]; ++c, ++index) {
          to[index] = pixel[c * strides[1]];
          if (!isfinite(to[index]) && bad < 0) bad = index;
        }
      }
  return bad;
}

void gk_byte_moments(const uint8_t *first, int64_t pixels, int64_t channels, double *mean,
                     double *variance) {
  uint64_t sum = 0, squares = 0;
  for (int64_t i = 0; i < pixels; ++i) {
    uint64_t value = first[i * channels];
    sum += value;
    squares += value * value;
  }
  unsigned __int128 spread =
      (unsigned __int128)squares * (uint64_t)pixels - (unsigned __int128)sum * sum;
  double count = (double)pixels;
  *mean = (double)sum / (255 * count);
  *variance = (double)spread / (255.0 * 255.0 * count * count);
}

/* Sums of at most this many values are added to one another, so that rounding does not grow with
 * the size of the data set. */
#define BLOCK 4096

void gk_float_moments(const float *first, int64_t pixels, int64_t channels, double *mean,
                      double *variance) {
  double total = 0;
  for (int64_t begin = 0; begin < pixels; begin += BLOCK) {
    int64_t end = begin + BLOCK < pixels ? begin + BLOCK : pixels;
    double part = 0;
    for (int64_t i = begin; i < end; ++i) part += first[i * channels];
    total += part;
  }
  const double center = total / (double)pixels;
  double spread = 0;
  for (int64_t begin = 0; begin < pixels; begin += BLOCK) {
    int64_t end = begin + BLOCK < pixels ? begin + BLOCK : pixels;
    double part = 0;
    for (int64_t i = begin; i < end; ++i) {
      double difference = first[i * channels] - center;
      part += difference * difference;
    }
    spread += part;
  }
  *mean = center;
  *variance = spread / (double)pixels;
}
