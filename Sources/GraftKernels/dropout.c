#include "tiles.h"

static gk_dropout_job job_of(const gk_dropout *s, gk_view in, float *out) {
  return (gk_dropout_job){s, in, out, gk_ceil_div(s->pixels * s->channels, GK_DROPOUT_GRAIN)};
}

void gk_dropout_forward(const gk_dropout *s, int threads, gk_view in, float *out) {
  gk_dropout_job job = job_of(s, in, out);
  gk_parallel_for(threads, s->n * job.tiles, gk_tiles_here()->dropout, &job);
}

void gk_dropout_backward(const gk_dropout *s, int threads, float *gradient) {
  gk_dropout_job job = job_of(s, (gk_view){NULL, NULL, NULL, 1, 0}, gradient);
  gk_parallel_for(threads, s->n * job.tiles, gk_tiles_here()->dropout_backward, &job);
}
