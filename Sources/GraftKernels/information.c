#include "graft_information.h"

#include "float_environment.h"
#include "graft_parallel.h"
#include "method_loops.h"

#include <math.h>
#include <string.h>

#pragma STDC FP_CONTRACT OFF

/* ---- range and l1 norms ---------------------------------------------------------------------- */

typedef struct measuring {
  const gk_weights *view;
  gk_tiling tiling;
  gk_measurement *result;
} measuring;

void gk_measure_piece(int32_t type, const void *x, int64_t count, double *low, double *high,
                      double *sum) {
  if (type == GK_FLOAT64) {
    gk_measure_double(x, count, low, high, sum);
    return;
  }
  float l, h;
  gk_method_loops_here()->measure(x, count, &l, &h, sum);
  *low = l;
  *high = h;
}

/* The elements [from, to) of one filter. */
static GK_APART void measure_filter(const gk_weights *view, int64_t filter, int64_t from,
                                    int64_t to, double *low, double *high, double *norm) {
  double buffer[GK_PIECE];
  *norm = 0;
  for (int64_t at = from; at < to; at += GK_PIECE) {
    int64_t count = to - at < GK_PIECE ? to - at : GK_PIECE;
    double l, h, sum;
    const void *x = view->type == GK_FLOAT64
                        ? (const void *)gk_gather_double(view, filter, at, count, buffer)
                        : gk_gather_float(view, filter, at, count, (float *)buffer);
    gk_measure_piece(view->type, x, count, &l, &h, &sum);
    if (at == from || l < *low) *low = l;
    if (at == from || h > *high) *high = h;
    *norm += sum;
  }
}

static void measure_tile(void *context, int64_t tile, int worker) {
  (void)worker;
  measuring *job = context;
  unsigned floats = gk_plain_floats();
  gk_tile_range range = gk_range_of_tile(job->view, &job->tiling, tile);
  double low = 0, high = 0;
  for (int64_t filter = range.first; filter < range.last; ++filter) {
    double l = 0, h = 0, norm;
    measure_filter(job->view, filter, range.from, range.to, &l, &h, &norm);
    if (filter == range.first || l < low) low = l;
    if (filter == range.first || h > high) high = h;
    if (job->tiling.tiles_per_filter > 1)
      job->result->partial[tile] = norm;
    else
      job->result->norms[filter] = norm;
  }
  job->result->tile_low[tile] = low;
  job->result->tile_high[tile] = high;
  gk_restore_floats(floats);
}

static GK_APART void finish(const gk_weights *view, gk_measurement *result) {
  gk_tiling tiling = gk_tile_weights(view);
  result->low = result->tile_low[0];
  result->high = result->tile_high[0];
  for (int64_t tile = 1; tile < tiling.tiles; ++tile) {
    if (result->tile_low[tile] < result->low) result->low = result->tile_low[tile];
    if (result->tile_high[tile] > result->high) result->high = result->tile_high[tile];
  }
  result->norm = 0;
  for (int64_t filter = 0; filter < view->filters; ++filter) {
    if (tiling.tiles_per_filter > 1) {
      double norm = 0;
      for (int64_t part = 0; part < tiling.tiles_per_filter; ++part)
        norm += result->partial[filter * tiling.tiles_per_filter + part];
      result->norms[filter] = norm;
    }
    result->norm += result->norms[filter];
  }
}

void gk_finish_measurement(const gk_weights *view, gk_measurement *result) {
  unsigned floats = gk_plain_floats();
  finish(view, result);
  gk_restore_floats(floats);
}

void gk_measure(const gk_weights *view, int threads, gk_measurement *result) {
  measuring job = {view, gk_tile_weights(view), result};
  threads = gk_threads_for(threads, view->filters * view->length);
  gk_parallel_for(threads, job.tiling.tiles, measure_tile, &job);
  gk_finish_measurement(view, result);
}

/* ---- bins ------------------------------------------------------------------------------------ */

int64_t gk_bin_counters(int64_t bins) { return bins + 1; }

/* numpy.linspace's edge, which numpy.histogram compares with. */
static double edge(const gk_bins *bins, int64_t index) {
  return index == bins->bins ? bins->high : (double)index * bins->step + bins->low;
}

static float published_edge(const gk_bins *bins, int64_t index) {
  float offset = (float)index * bins->scale;
  return bins->first + offset;
}

/* Of weights of float64: by arithmetic. */
static GK_APART gk_bins make_bins_double(int64_t count, int32_t compatibility, double low,
                                         double high) {
  gk_bins bins = {.bins = count, .compatibility = compatibility, .low = low, .high = high};
  if (low == high && !compatibility) { /* as numpy widens it */
    bins.low -= 0.5;
    bins.high += 0.5;
  }
  bins.step = (bins.high - bins.low) / (double)count;
  bins.counters = count;
  bins.by_arithmetic = 1;
  return bins;
}

static GK_APART gk_bins make_bins(int64_t count, int32_t compatibility, float low, float high) {
  gk_bins bins = {.bins = count, .compatibility = compatibility, .low = low, .high = high};
  if (low == high) { /* as numpy widens it */
    bins.low -= 0.5;
    bins.high += 0.5;
  }
  bins.step = (bins.high - bins.low) / (double)count;
  bins.first = low;
  bins.scale = (high - low) / (float)count;
  bins.counters = count;
  bins.by_arithmetic = count > GK_FAST_BINS;
  if (count <= GK_FAST_BINS && compatibility) {
    bins.thresholds = count + 1;
    for (int64_t i = 0; i <= count; ++i) bins.threshold[i] = published_edge(&bins, i);
  } else if (count <= GK_FAST_BINS) {
    bins.thresholds = count - 1;
    for (int64_t i = 1; i < count; ++i) {
      double exact = edge(&bins, i);
      float threshold = (float)exact;
      if ((double)threshold < exact) threshold = nextafterf(threshold, INFINITY);
      bins.threshold[i - 1] = threshold;
    }
  }
  if (bins.thresholds > bins.counters) bins.counters = bins.thresholds;
  float sort_scale = (float)(count * GK_STEPS) / (high - low);
  if (count <= GK_SORTED_BINS && !compatibility && isnormal(sort_scale))
    bins.sort_scale = sort_scale;
  return bins;
}

gk_bins gk_make_bins(int32_t type, int64_t count, int32_t compatibility, double low, double high) {
  unsigned floats = gk_plain_floats();
  gk_bins bins = type == GK_FLOAT64 ? make_bins_double(count, compatibility, low, high)
                                    : make_bins(count, compatibility, (float)low, (float)high);
  gk_restore_floats(floats);
  return bins;
}

/* The bin of `x` among the published ones, or -1: the last edge not over it. */
static int64_t published_bin(const gk_bins *bins, float x) {
  if (!isfinite(bins->scale)) return -1; /* then every edge but the first is inf or NaN */
  int64_t low = 0, high = bins->bins + 1;
  while (high - low > 1) {
    int64_t middle = low + (high - low) / 2;
    if (published_edge(bins, middle) <= x)
      low = middle;
    else
      high = middle;
  }
  return low < bins->bins ? low : -1;
}

static GK_APART void count_piece(const gk_bins *bins, const float *x, int64_t n,
                                 int64_t *counters) {
  const gk_method_loops *loops = gk_method_loops_here();
  if (bins->sort_scale > 0) {
    loops->sort(x, n, bins->first, bins->sort_scale, bins->threshold, bins->thresholds, counters);
  } else if (bins->bins <= GK_FAST_BINS) {
    loops->count(x, n, bins->threshold, bins->thresholds, counters);
  } else if (bins->compatibility) {
    for (int64_t i = 0; i < n; ++i) {
      int64_t bin = published_bin(bins, x[i]);
      if (bin >= 0) ++counters[bin];
    }
  } else if (bins->step == 0) { /* one value so large that 0.5 more is the same */
    counters[bins->bins - 1] += n;
  } else {
    int32_t index[GK_PIECE];
    loops->bin(x, n, bins->low, bins->high, bins->step, bins->bins, index);
    for (int64_t i = 0; i < n; ++i) ++counters[index[i]];
  }
}

/* numpy.histogram's bin of `x`, found as it finds it, or the published one, or -1. */
static int64_t bin_of_double(const gk_bins *bins, double x) {
  int64_t count = bins->bins;
  double width = bins->high - bins->low;
  if (bins->step == 0) return bins->compatibility ? -1 : count - 1; /* one value, or nearly */
  int64_t bin = (int64_t)((x - bins->low) / width * (double)count);
  if (bin >= count) bin = count - 1;
  if (bins->compatibility) { /* the last edge not over it */
    while (bin >= 0 && (double)bin * bins->step + bins->low > x) --bin;
    while (bin < count && (double)(bin + 1) * bins->step + bins->low <= x) ++bin;
    return bin < count ? bin : -1;
  }
  if (x < edge(bins, bin)) return bin - 1;
  return x >= edge(bins, bin + 1) && bin != count - 1 ? bin + 1 : bin;
}

static GK_APART void count_piece_double(const gk_bins *bins, const double *x, int64_t n,
                                        int64_t *counters) {
  for (int64_t i = 0; i < n; ++i) {
    int64_t bin = bin_of_double(bins, x[i]);
    if (bin >= 0) ++counters[bin];
  }
}

/* From a worker's counters to counts per bin, added to `counts`. */
static void add_counts(const gk_bins *bins, const int64_t *counters, int64_t total,
                       int64_t *counts) {
  if (bins->by_arithmetic) {
    for (int64_t i = 0; i < bins->bins; ++i) counts[i] += counters[i];
  } else if (bins->compatibility) {
    for (int64_t i = 0; i < bins->bins; ++i) counts[i] += counters[i] - counters[i + 1];
  } else {
    for (int64_t i = 0; i < bins->bins; ++i)
      counts[i] += (i == 0 ? total : counters[i - 1]) - (i == bins->bins - 1 ? 0 : counters[i]);
  }
}

typedef struct counting {
  const gk_weights *view;
  gk_tiling tiling;
  const gk_bins *bins;
  int64_t *counters;
} counting;

static void count_filter(const gk_weights *view, const gk_bins *bins, int64_t filter, int64_t from,
                         int64_t to, int64_t *counters) {
  double buffer[GK_PIECE];
  for (int64_t at = from; at < to; at += GK_PIECE) {
    int64_t count = to - at < GK_PIECE ? to - at : GK_PIECE;
    if (view->type == GK_FLOAT64)
      count_piece_double(bins, gk_gather_double(view, filter, at, count, buffer), count, counters);
    else
      count_piece(bins, gk_gather_float(view, filter, at, count, (float *)buffer), count,
                  counters);
  }
}

static void count_tile(void *context, int64_t tile, int worker) {
  counting *job = context;
  unsigned floats = gk_plain_floats();
  gk_tile_range range = gk_range_of_tile(job->view, &job->tiling, tile);
  int64_t *counters = job->counters + worker * job->bins->counters;
  for (int64_t filter = range.first; filter < range.last; ++filter)
    count_filter(job->view, job->bins, filter, range.from, range.to, counters);
  gk_restore_floats(floats);
}

void gk_count(const gk_weights *view, const gk_bins *bins, int threads, int64_t *counters,
              int64_t *counts) {
  counting job = {view, gk_tile_weights(view), bins, counters};
  threads = gk_threads_for(threads, view->filters * view->length);
  gk_parallel_for(threads, job.tiling.tiles, count_tile, &job);
  /* Whole numbers: the order of the workers does not show. */
  int workers = gk_threads(threads);
  for (int worker = 1; worker < workers; ++worker)
    for (int64_t i = 0; i < bins->counters; ++i)
      counters[i] += counters[worker * bins->counters + i];
  memset(counts, 0, (size_t)bins->bins * sizeof *counts);
  add_counts(bins, counters, view->filters * view->length, counts);
}

double gk_entropy(const int64_t *counts, int64_t bins, int64_t total, int32_t compatibility) {
  if (compatibility) {
    float entropy = 0;
    for (int64_t i = 0; i < bins; ++i) {
      float p = (float)counts[i] / (float)total;
      if (p != 0) {
        float term = p * logf(p);
        entropy -= term;
      }
    }
    return (double)entropy;
  }
  double entropy = 0;
  for (int64_t i = 0; i < bins; ++i) {
    if (counts[i] == 0) continue;
    double p = (double)counts[i] / (double)total;
    entropy -= p * log(p);
  }
  double most = log((double)bins);
  return entropy < most ? entropy : most;
}

/* ---- entropies of single filters ------------------------------------------------------------- */

typedef struct filter_entropies {
  const gk_weights *view;
  int64_t filters_per_tile, bins;
  int32_t compatibility;
  int64_t *counters;
  double *entropies;
} filter_entropies;

static void entropy_tile(void *context, int64_t tile, int worker) {
  filter_entropies *job = context;
  const gk_weights *view = job->view;
  int64_t room = gk_bin_counters(job->bins);
  int64_t *counters = job->counters + worker * 2 * room, *counts = counters + room;
  int64_t first = tile * job->filters_per_tile, last = first + job->filters_per_tile;
  unsigned floats = gk_plain_floats();
  for (int64_t filter = first; filter < last && filter < view->filters; ++filter) {
    double low = 0, high = 0, norm;
    measure_filter(view, filter, 0, view->length, &low, &high, &norm);
    if (!isfinite(norm)) {
      job->entropies[filter] = NAN;
      continue;
    }
    gk_bins bins = gk_make_bins(view->type, job->bins, job->compatibility, low, high);
    memset(counters, 0, (size_t)room * 2 * sizeof *counters);
    count_filter(view, &bins, filter, 0, view->length, counters);
    add_counts(&bins, counters, view->length, counts);
    job->entropies[filter] = gk_entropy(counts, job->bins, view->length, job->compatibility);
  }
  gk_restore_floats(floats);
}

void gk_filter_entropies(const gk_weights *view, int64_t bins, int32_t compatibility, int threads,
                         int64_t *counters, double *entropies) {
  int64_t per_tile = gk_tile_weights(view).filters_per_tile;
  threads = gk_threads_for(threads, view->filters * view->length);
  filter_entropies job = {view, per_tile, bins, compatibility, counters, entropies};
  gk_parallel_for(threads, (view->filters - 1) / per_tile + 1, entropy_tile, &job);
}
