#include "graft_blend.h"

#include "float_environment.h"
#include "graft_parallel.h"
#include "method_loops.h"

#include <stddef.h>
#include <string.h>

int64_t gk_mix_scratch(int64_t networks, int64_t rows) { return (networks + rows) * GK_PIECE; }

typedef struct mixing {
  const gk_mix *mix;
  gk_tiling tiling;
  gk_measurement *results;
} mixing;

/* `count` elements of a filter: all results, then all writes. Result r lies at result[r] after. */
static void mix_piece(const gk_mix *mix, int64_t filter, int64_t at, int64_t count,
                      float *scratch, const float **result) {
  const gk_method_loops *loops = gk_method_loops_here();
  float *gathered = scratch + mix->rows * GK_PIECE;
  for (int64_t r = 0; r < mix->rows; ++r) {
    const gk_mix_row *row = &mix->row[r];
    const float *terms[GK_MIX_NETWORKS];
    for (int32_t t = 0; t < row->terms; ++t) {
      int32_t source = row->source[t];
      terms[t] = gk_gather(&mix->from[source], filter, at, count, gathered + source * GK_PIECE);
    }
    /* A single result can go where it belongs at once: nobody reads these elements any more. */
    float *out = mix->rows == 1 ? gk_in_a_row(&mix->to[row->target[0]], filter, at) : NULL;
    if (out == NULL) out = scratch + r * GK_PIECE;
    if (row->terms == 1 && row->weight[0] == 1) {
      if (out != terms[0]) memcpy(out, terms[0], (size_t)count * sizeof *out);
    } else {
      loops->combine(out, count, row->terms, terms, row->weight);
    }
    result[r] = out;
  }
  for (int64_t r = 0; r < mix->rows; ++r)
    for (int32_t t = 0; t < mix->row[r].targets; ++t)
      gk_scatter(&mix->to[mix->row[r].target[t]], filter, at, count, result[r]);
}

static void mix_tile(void *context, int64_t tile, int worker) {
  mixing *job = context;
  const gk_mix *mix = job->mix;
  const gk_method_loops *loops = gk_method_loops_here();
  float *scratch = mix->scratch + worker * gk_mix_scratch(mix->networks, mix->rows);
  unsigned floats = gk_plain_floats();
  gk_tile_range range = gk_range_of_tile(&mix->from[0], &job->tiling, tile);
  for (int64_t filter = range.first; filter < range.last; ++filter) {
    for (int64_t at = range.from; at < range.to; at += GK_PIECE) {
      int64_t count = range.to - at < GK_PIECE ? range.to - at : GK_PIECE;
      const float *result[GK_MIX_NETWORKS];
      mix_piece(mix, filter, at, count, scratch, result);
      for (int64_t r = 0; job->results != NULL && r < mix->rows; ++r) {
        gk_measurement *into = &job->results[r];
        float low, high;
        double sum;
        loops->measure(result[r], count, &low, &high, &sum);
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
