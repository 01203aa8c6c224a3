#include "method_loops.h"

#include "graft_instructions.h"
#include "graft_weights.h"

#include <string.h>

/* Without this a compiler may fuse products and sums where the processor can, and the bits would
 * depend on it. */
#pragma STDC FP_CONTRACT OFF

/* Sixteen lanes, whatever the registers' width: the compiler splits them. */
typedef float f16 __attribute__((ext_vector_type(16)));
typedef double d16 __attribute__((ext_vector_type(16)));
typedef float f8 __attribute__((ext_vector_type(8)));
typedef float f4 __attribute__((ext_vector_type(4)));
typedef float f2 __attribute__((ext_vector_type(2)));
typedef double d8 __attribute__((ext_vector_type(8)));
typedef double d4 __attribute__((ext_vector_type(4)));
typedef double d2 __attribute__((ext_vector_type(2)));
typedef int32_t i16 __attribute__((ext_vector_type(16)));
typedef int64_t l16 __attribute__((ext_vector_type(16)));
typedef uint32_t u16 __attribute__((ext_vector_type(16)));
typedef uint16_t h16 __attribute__((ext_vector_type(16)));
typedef uint16_t h32 __attribute__((ext_vector_type(32)));
typedef uint8_t b64 __attribute__((ext_vector_type(64)));
typedef uint16_t s64 __attribute__((ext_vector_type(64)));

#define NAME(loop) loop##_baseline
#include "method_loops_variant.h"
#undef NAME

#if defined(__x86_64__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#define NAME(loop) loop##_avx2
#include "method_loops_variant.h"
#undef NAME
#pragma clang attribute pop

#define AVX512 "avx2,fma,avx512f,avx512vl,avx512bw,avx512dq"
#pragma clang attribute push(__attribute__((target(AVX512))), apply_to = function)
#define NAME(loop) loop##_avx512
#include "method_loops_variant.h"
#undef NAME
#pragma clang attribute pop
#endif

void gk_measure_double(const double *x, int64_t n, double *low, double *high, double *sum) {
  d8 lowest = x[0], highest = x[0], lane = 0.0;
  for (int64_t i = 0; i < n; i += 8) {
    d8 v = x[0], size = 0.0;
    if (n - i >= 8) {
      memcpy(&v, x + i, sizeof v);
      memcpy(&size, x + i, sizeof v);
    } else {
      memcpy(&v, x + i, (size_t)(n - i) * sizeof *x);
      memcpy(&size, x + i, (size_t)(n - i) * sizeof *x);
    }
    lowest = v < lowest ? v : lowest;
    highest = v > highest ? v : highest;
    lane += __builtin_elementwise_abs(size);
  }
  *low = lowest[0];
  *high = highest[0];
  for (int i = 1; i < 8; ++i) {
    if (lowest[i] < *low) *low = lowest[i];
    if (highest[i] > *high) *high = highest[i];
  }
  *sum = ((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

/* Products are not exact here, as they are for shorter types: so values that are all equal are kept
 * by themselves where their weights add up to 1. */
void gk_combine_double(double *out, int64_t n, int64_t terms, const double *const *x,
                       const double *weight) {
  double total = 0;
  for (int64_t t = 0; t < terms; ++t) total += weight[t];
  int mean = total > 0.999 && total < 1.001;
  for (int64_t i = 0; i < n; ++i) {
    double first = x[0][i], sum = first * weight[0];
    int same = mean;
    for (int64_t t = 1; t < terms; ++t) {
      same &= x[t][i] == first;
      sum += x[t][i] * weight[t];
    }
    out[i] = same ? first : sum;
  }
}

const gk_method_loops *gk_method_loops_here(void) {
#if defined(__x86_64__)
  gk_instructions set = gk_instruction_set();
  if (set >= GK_AVX512) return &loops_avx512;
  if (set == GK_AVX2) return &loops_avx2;
#endif
  return &loops_baseline;
}
