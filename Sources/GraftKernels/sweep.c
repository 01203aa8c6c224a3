#include "graft_sweep.h"

#include "graft_parallel.h"

#include <math.h>
#include <string.h>

int64_t gk_sweep_counters(int64_t bins) { return gk_bin_counters(bins) + bins; }

/* Where the work of one item goes: on `threads` threads, or alone on one, which is then `worker`
 * among `workers`. */
typedef struct place {
  int threads, worker, workers;
} place;

static double entropy(const gk_counting *counting, const gk_weights *whole, double low,
                      double high, place at) {
  int64_t room = gk_bin_counters(counting->bins);
  int64_t *counters = counting->counters + at.worker * gk_sweep_counters(counting->bins);
  int64_t *counts = counters + (at.threads > 1 ? at.workers : 1) * room;
  gk_bins bins = gk_make_bins(whole->type, counting->bins, counting->compatibility, low, high);
  memset(counters, 0, (size_t)(counts - counters) * sizeof *counters);
  gk_count(whole, &bins, at.threads, counters, counts);
  return gk_entropy(counts, bins.bins, whole->filters * whole->length, bins.compatibility);
}

/* ---- items on threads ------------------------------------------------------------------------ */

typedef struct sweep {
  void (*work)(const struct sweep *sweep, int64_t item, place at);
  int64_t (*size)(const struct sweep *sweep, int64_t item);
  void *items;
  const gk_counting *counting;
  double *scratch;
  int64_t scratch_size, total;
  int workers;
} sweep;

/* A quarter of a thread's share or more: then one thread would be at it while the others wait. */
static int is_large(const sweep *all, int64_t item) {
  return all->workers > 1 && all->size(all, item) > all->total / (4 * all->workers);
}

static void work_alone(void *context, int64_t item, int worker) {
  sweep *all = context;
  if (!is_large(all, item)) all->work(all, item, (place){1, worker, all->workers});
}

static void run(sweep *all, int64_t count, int threads) {
  for (int64_t item = 0; item < count; ++item) all->total += all->size(all, item);
  threads = all->workers = gk_threads_for(threads, all->total);
  for (int64_t item = 0; item < count; ++item)
    if (is_large(all, item)) all->work(all, item, (place){all->workers, 0, all->workers});
  gk_parallel_for(threads, count, work_alone, all);
}

/* ---- surveys --------------------------------------------------------------------------------- */

static int64_t survey_size(const sweep *all, int64_t item) {
  const gk_survey *survey = (const gk_survey *)all->items + item;
  return survey->filters.filters * survey->filters.length;
}

static void survey_one(const sweep *all, int64_t item, place at) {
  gk_survey *survey = (gk_survey *)all->items + item;
  gk_measure(&survey->filters, at.threads, &survey->result);
  if (survey->wants_entropy && isfinite(survey->result.norm))
    survey->entropy =
        entropy(all->counting, &survey->whole, survey->result.low, survey->result.high, at);
}

void gk_survey_all(gk_survey *surveys, int64_t count, const gk_counting *counting, int threads) {
  sweep all = {.work = survey_one, .size = survey_size, .items = surveys, .counting = counting};
  run(&all, count, threads);
}

/* ---- grafts ---------------------------------------------------------------------------------- */

static int64_t graft_size(const sweep *all, int64_t item) {
  const gk_mix *mix = &((const gk_graft *)all->items)[item].mix;
  return mix->from[0].filters * mix->from[0].length;
}

static void graft_one(const sweep *all, int64_t item, place at) {
  const gk_graft *graft = (const gk_graft *)all->items + item;
  gk_mix mix = graft->mix;
  mix.scratch = all->scratch + at.worker * all->scratch_size;
  gk_mix_networks(&mix, at.threads, graft->results);
  for (int64_t r = 0; graft->results != NULL && r < mix.rows; ++r)
    graft->entropies[r] = entropy(all->counting, &graft->written[r], graft->results[r].low,
                                  graft->results[r].high, at);
}

void gk_graft_all(const gk_graft *grafts, int64_t count, const gk_counting *counting,
                  double *scratch, int64_t scratch_size, int threads) {
  sweep all = {.work = graft_one, .size = graft_size, .items = (void *)grafts,
               .counting = counting, .scratch = scratch, .scratch_size = scratch_size};
  run(&all, count, threads);
}
