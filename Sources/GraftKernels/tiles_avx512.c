/* The tiles for AVX-512: 16 lanes, 32 registers. */
#if defined(__x86_64__)
#include <math.h>
#include <string.h>
#include "tiles.h"

#define UNROLL _Pragma("clang loop unroll(full)")

#define LANES 16
/* Filters that a loop works on at once: 2 vectors. */
#define SUBPANEL 32

#pragma clang attribute push(                                                    \
    __attribute__((target("avx512f,avx512vl,avx512bw,avx512dq,avx2,fma,bmi2"))), \
    apply_to = function)
#include "vectors.h"
#include "view_tiles.h"
#include "moments_tiles.h"
#include "winograd_tiles.h"
#include "convolution_tiles.h"
#include "weight_tiles.h"
#include "winograd_backward_tiles.h"
#include "convolution_backward_tiles.h"
#include "depthwise_tiles.h"
#include "grouped_tiles.h"
#include "elementwise_tiles.h"
#include "concatenation_tiles.h"
#include "dropout_tiles.h"
#include "pooling_tiles.h"

const gk_tiles gk_tiles_avx512 = {
    convolution_forward_tile,
    convolution_backward_tile,
    depthwise_forward_tile,
    depthwise_backward_tile,
    sum_tile,
    rectify_tile,
    apply_tile,
    moments_tile,
    reduce_tile,
    sgd_tile,
    concatenate_tile,
    split_tile,
    dropout_tile,
    dropout_backward_tile,
    pool_tile,
    pool_backward_tile,
    global_tile,
    global_backward_tile,
    shortcut_tile,
    shortcut_backward_tile,
    grouped_forward_tile,
    grouped_backward_tile,
};

#pragma clang attribute pop
#endif
