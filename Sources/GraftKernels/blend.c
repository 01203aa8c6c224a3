#include "graft_blend.h"

#include "float_environment.h"
#include "graft_parallel.h"
#include "method_loops.h"

#include <stddef.h>
#include <string.h>

/* Fused products and sums would give other bits on other processors. */
#pragma STDC FP_CONTRACT OFF

int64_t gk_mix_scratch(int64_t networks, int64_t rows) { return (networks + rows) * GK_PIECE; }

typedef struct mixing {
  const gk_mix *mix;
  gk_tiling tiling;
  gk_measurement *results;
} mixing;

/* combine, in the type of the row's targets. */
static void combine_float(int32_t type, float *out, int64_t count, int64_t terms,
                          const float *const *x, const double *weight) {
  const gk_method_loops *loops = gk_method_loops_here();
  if (type == GK_FLOAT32)
    loops->combine(out, count, terms, x, weight);
  else
    loops->combine_half(type, out, count, terms, x, weight);
}

static void combine_double(int32_t type, double *out, int64_t count, int64_t terms,
                           const double *const *x, const double *weight) {
  (void)type;
  gk_combine_double(out, count, terms, x, weight);
}

static GK_APART void round_float(int32_t type, const double *sum, int64_t count, float *out) {
  if (type == GK_FLOAT32)
    for (int64_t i = 0; i < count; ++i) out[i] = (float)sum[i];
  else
    gk_method_loops_here()->round_half(type, sum, count, out);
}

static void round_double(int32_t type, const double *sum, int64_t count, double *out) {
  (void)type;
  memcpy(out, sum, (size_t)count * sizeof *out);
}

/* How many of a receiver's elements differ from one that they take from, and did not move. */
static int64_t unmoved_float(const float *result, const float *before, int64_t count,
                             int64_t terms, const float *const *x) {
  return gk_method_loops_here()->unmoved(result, before, count, terms, x);
}

/* Asked of half types only. */
static int64_t unmoved_double(const double *result, const double *before, int64_t count,
                              int64_t terms, const double *const *x) {
  (void)result, (void)before, (void)count, (void)terms, (void)x;
  return 0;
}

/* How far from `e` on in a filter the coefficient stays the same, and the coefficient. */
static double coefficient(const gk_scales *scales, int64_t filter, int64_t e, int64_t *left) {
  if (scales->input == NULL) return scales->filter[filter];
  int64_t group = filter / scales->filters_per_group;
  double input = scales->input[group * scales->group_step + e / scales->run];
  *left = scales->run - e % scales->run;
  return scales->filter == NULL ? input : (scales->filter[filter] + input) / 2;
}

#define VALUE float
#define TYPED(name) name##_float
#include "blend_piece.h"
#undef VALUE
#undef TYPED

#define VALUE double
#define TYPED(name) name##_double
#include "blend_piece.h"
#undef VALUE
#undef TYPED

static void mix_tile(void *context, int64_t tile, int worker) {
  mixing *job = context;
  const gk_mix *mix = job->mix;
  double *scratch =
      (double *)mix->scratch + worker * gk_mix_scratch(mix->networks, mix->rows);
  int32_t type = mix->to[0].type;
  unsigned floats = gk_plain_floats();
  gk_tile_range range = gk_range_of_tile(&mix->from[0], &job->tiling, tile);
  for (int64_t filter = range.first; filter < range.last; ++filter) {
    for (int64_t at = range.from; at < range.to; at += GK_PIECE) {
      int64_t count = range.to - at < GK_PIECE ? range.to - at : GK_PIECE;
      const void *result[GK_MIX_NETWORKS];
      if (type == GK_FLOAT64)
        mix_piece_double(mix, filter, at, count, scratch, result);
      else
        mix_piece_float(mix, filter, at, count, (float *)scratch, result);
      for (int64_t r = 0; job->results != NULL && r < mix->rows; ++r) {
        gk_measurement *into = &job->results[r];
        double low, high, sum;
        gk_measure_piece(type, result[r], count, &low, &high, &sum);
        int first = filter == range.first && at == range.from;
        if (first || low < into->tile_low[tile]) into->tile_low[tile] = low;
        if (first || high > into->tile_high[tile]) into->tile_high[tile] = high;
        double *norm = job->tiling.tiles_per_filter > 1 ? &into->partial[tile]
                                                        : &into->norms[filter];
        *norm = (at == range.from ? 0 : *norm) + sum;
      }
    }
  }
  gk_restore_floats(floats);
}

void gk_mix_networks(const gk_mix *mix, int threads, gk_measurement *results) {
  mixing job = {mix, gk_tile_weights(&mix->from[0]), results};
  threads = gk_threads_for(threads, mix->from[0].filters * mix->from[0].length);
  gk_parallel_for(threads, job.tiling.tiles, mix_tile, &job);
  for (int64_t r = 0; results != NULL && r < mix->rows; ++r)
    gk_finish_measurement(&mix->from[0], &results[r]);
}
