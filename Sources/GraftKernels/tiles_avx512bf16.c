/* The tiles for AVX-512 with products of bfloat16: Zen 4, Cooper Lake and their successors. */
#if defined(__x86_64__)
#include <immintrin.h>
#include <math.h>
#include <string.h>
#include "bfloat16.h"
#include "tiles.h"

#define LANES 16
/* Filters that a loop works on at once: 2 vectors. */
#define SUBPANEL 32
#define TILES gk_tiles_avx512bf16
#define BFLOAT16 1

#pragma clang attribute push(                                                               \
    __attribute__((target("avx512bf16,avx512f,avx512vl,avx512bw,avx512dq,avx2,fma,bmi2"))), \
    apply_to = function)
#include "tiles_variant.h"

#pragma clang attribute pop
#endif
