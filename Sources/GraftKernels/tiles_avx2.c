/* The tiles for AVX2: 8 lanes, 16 registers. */
#if defined(__x86_64__)
#include <math.h>
#include <string.h>
#include "bfloat16.h"
#include "tiles.h"

#define LANES 8
/* Filters that a loop works on at once: 2 vectors. */
#define SUBPANEL 16
#define TILES gk_tiles_avx2

#pragma clang attribute push(__attribute__((target("avx2,fma,bmi2"))), apply_to = function)
#include "tiles_variant.h"

#pragma clang attribute pop
#endif
