#include "loss_loops.h"

#include "graft_instructions.h"

#include <stddef.h>
#include <string.h>

/* Without this a compiler may fuse products and sums where the processor can, and the bits would
 * depend on it. */
#pragma STDC FP_CONTRACT OFF

/* Sixteen lanes, whatever the registers' width: the compiler splits them. */
typedef float f16 __attribute__((ext_vector_type(16)));
typedef double d16 __attribute__((ext_vector_type(16)));
typedef double d8 __attribute__((ext_vector_type(8)));
typedef double d4 __attribute__((ext_vector_type(4)));
typedef double d2 __attribute__((ext_vector_type(2)));
typedef int32_t i16 __attribute__((ext_vector_type(16)));
typedef int64_t l16 __attribute__((ext_vector_type(16)));

#define NAME(loop) loop##_baseline
#include "loss_loops_variant.h"
#undef NAME

#if defined(__x86_64__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#define NAME(loop) loop##_avx2
#include "loss_loops_variant.h"
#undef NAME
#pragma clang attribute pop

#define AVX512 "avx2,fma,avx512f,avx512vl,avx512bw,avx512dq"
#pragma clang attribute push(__attribute__((target(AVX512))), apply_to = function)
#define NAME(loop) loop##_avx512
#include "loss_loops_variant.h"
#undef NAME
#pragma clang attribute pop
#endif

const gk_loss_loops *gk_loss_loops_here(void) {
#if defined(__x86_64__)
  gk_instructions set = gk_instruction_set();
  if (set >= GK_AVX512) return &loops_avx512;
  if (set == GK_AVX2) return &loops_avx2;
#endif
  return &loops_baseline;
}
