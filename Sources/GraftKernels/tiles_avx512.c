/* The tiles for AVX-512: 16 lanes, 32 registers. */
#if defined(__x86_64__)
#include <math.h>
#include <string.h>
#include "bfloat16.h"
#include "tiles.h"

#define LANES 16
/* Filters that a loop works on at once: 2 vectors. */
#define SUBPANEL 32
#define TILES gk_tiles_avx512

#pragma clang attribute push(                                                    \
    __attribute__((target("avx512f,avx512vl,avx512bw,avx512dq,avx2,fma,bmi2"))), \
    apply_to = function)
#include "tiles_variant.h"

#pragma clang attribute pop
#endif
