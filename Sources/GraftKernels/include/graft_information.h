/* How much information weights carry: ranges, l1 norms, histograms, entropies (paper,
 * section 3). */
#ifndef GRAFT_INFORMATION_KERNELS_H
#define GRAFT_INFORMATION_KERNELS_H

#include "graft_weights.h"

/* Room for what one pass over a tensor finds out; every array belongs to the caller. */
typedef struct gk_measurement {
  double *norms;       /* [filters] the l1 norm of each filter; not finite where a weight is not */
  double *partial;     /* [tiles] */
  double *tile_low;    /* [tiles] */
  double *tile_high;   /* [tiles] */
  double low, high;    /* of all weights; nothing where a weight is not finite */
  double norm;         /* the sum of `norms` */
} gk_measurement;

void gk_measure(const gk_weights *view, int threads, gk_measurement *result);

/* The same in parts, for a pass that does something else too: once every tile has its values, the
 * whole. */
void gk_finish_measurement(const gk_weights *view, gk_measurement *result);

/* The bins of a histogram over [low, high]. Up to GK_FAST_BINS they are told apart by comparing
 * with float32 thresholds (the least float32 not under an edge: exact, for float32 weights), with
 * more by arithmetic in float64. */
#define GK_FAST_BINS 32

typedef struct gk_bins {
  int64_t bins;
  /* 0: numpy.histogram's. 1: the published code's: edges in float32, the last bin open. */
  int32_t compatibility;
  float first, scale;      /* of the published edges, first + i * scale */
  double low, high, step;  /* of numpy's edges, low + i * step; in float64 the published ones too */
  int64_t counters;        /* how many counters a worker needs */
  int32_t by_arithmetic;
  int64_t thresholds;
  float sort_scale;        /* 0, or that of gk_method_loops.sort */
  float threshold[GK_FAST_BINS + 1];
} gk_bins;

/* bins 1 to 65536; low <= high, finite, of the type of the weights (gk_type). */
gk_bins gk_make_bins(int32_t type, int64_t bins, int32_t compatibility, double low, double high);

/* The counters that gk_make_bins would ask for: at most bins + 1. */
int64_t gk_bin_counters(int64_t bins);

/* Counts all weights, which lie in [low, high]. `counters` is workers x bins->counters, zeros
 * before; `counts` receives bins->bins. */
void gk_count(const gk_weights *view, const gk_bins *bins, int threads, int64_t *counters,
              int64_t *counts);

/* H = -sum p ln p of `counts`, p_b = counts[b] / total; in float32 in the published order where
 * `compatibility` is 1. */
double gk_entropy(const int64_t *counts, int64_t bins, int64_t total, int32_t compatibility);

/* The entropy of every filter over its own range; NaN where a weight of it is not finite.
 * `counters` is workers x 2 x gk_bin_counters(bins). */
void gk_filter_entropies(const gk_weights *view, int64_t bins, int32_t compatibility, int threads,
                         int64_t *counters, double *entropies);

#endif
