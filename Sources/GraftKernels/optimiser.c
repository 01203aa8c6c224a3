#include "graft_optimiser.h"

#include "graft_parallel.h"
#include "integers.h"

#include <string.h>

#pragma STDC FP_CONTRACT OFF

/* Floats in a tile, and sums that run side by side within one. Both are part of the result. */
enum { TILE = 16384, LANES = 8 };

int64_t gk_square_tiles(int64_t count) { return gk_ceil_div(count, TILE); }

/* ---- the sum of squares ---------------------------------------------------------------------- */

typedef struct squares {
  const float *x;
  int64_t count;
  double *sums;
} squares;

static void square_tile(void *context, int64_t tile, int worker) {
  (void)worker;
  const squares *job = context;
  int64_t i = tile * TILE, end = gk_min(job->count, i + TILE);
  double sums[LANES] = {0}, sum = 0;
  for (; i + LANES <= end; i += LANES)
    for (int k = 0; k < LANES; ++k) sums[k] += (double)job->x[i + k] * (double)job->x[i + k];
  for (; i < end; ++i) sum += (double)job->x[i] * (double)job->x[i];
  for (int k = 0; k < LANES; ++k) sum += sums[k];
  job->sums[tile] = sum;
}

double gk_square_sum(int threads, const float *x, int64_t count, double *scratch) {
  squares job = {x, count, scratch};
  int64_t tiles = gk_square_tiles(count);
  gk_parallel_for(threads, tiles, square_tile, &job);
  double sum = 0;
  for (int64_t tile = 0; tile < tiles; ++tile) sum += scratch[tile];
  return sum;
}

/* ---- the moving average ---------------------------------------------------------------------- */

typedef struct averaging {
  float *average;
  const float *x;
  float rate;
  int64_t count;
} averaging;

static void average_tile(void *context, int64_t tile, int worker) {
  (void)worker;
  const averaging *job = context;
  int64_t i = tile * TILE, end = gk_min(job->count, i + TILE);
  for (; i < end; ++i) job->average[i] += job->rate * (job->x[i] - job->average[i]);
}

void gk_average(int threads, float *average, const float *x, float rate, int64_t count) {
  averaging job = {average, x, rate, count};
  gk_parallel_for(threads, gk_square_tiles(count), average_tile, &job);
}

void gk_swap(float *a, float *b, int64_t count) {
  float held[1024];
  for (int64_t i = 0; i < count; i += 1024) {
    size_t size = (size_t)gk_min(1024, count - i) * sizeof *a;
    memcpy(held, a + i, size);
    memcpy(a + i, b + i, size);
    memcpy(b + i, held, size);
  }
}
