/* Pooling and the parameterless shortcut. */
#include "graft_pooling.h"

#include "tiles.h"

/* Rows of a map in a tile: about 16384 floats. */
static void cut(gk_pool_job *job, int64_t height, int64_t width) {
  job->rows = gk_max(1, gk_min(height, 16384 / gk_max(1, width * job->shape->channels)));
  job->tiles = gk_ceil_div(height, job->rows);
}

void gk_pool_forward(const gk_pooling *s, int threads, gk_view in, float *out, int32_t *choice) {
  gk_pool_job job = {.shape = s, .in = in, .out = out, .choice = s->average ? NULL : choice};
  cut(&job, s->out_height, s->out_width);
  gk_parallel_for(threads, s->n * job.tiles, gk_tiles_here()->pool, &job);
}

void gk_pool_backward(const gk_pooling *s, int threads, const float *gradient,
                      const int32_t *choice, float *to, int accumulate) {
  gk_pool_job job = {
      .shape = s, .gradient = gradient, .chosen = choice, .to = to, .accumulate = accumulate};
  cut(&job, s->height, s->width);
  gk_parallel_for(threads, s->n * job.tiles, gk_tiles_here()->pool_backward, &job);
}

void gk_global_pool_forward(int threads, gk_view in, float *out, int64_t n, int64_t pixels,
                            int64_t channels) {
  gk_global_job job = {.in = in, .out = out, .pixels = pixels, .channels = channels};
  gk_parallel_for(threads, n, gk_tiles_here()->global_pool, &job);
}

void gk_global_pool_backward(int threads, const float *gradient, float *to, int accumulate,
                             int64_t n, int64_t pixels, int64_t channels) {
  gk_global_job job = {.gradient = gradient,
                       .to = to,
                       .accumulate = accumulate,
                       .pixels = pixels,
                       .channels = channels};
  gk_parallel_for(threads, n, gk_tiles_here()->global_pool_backward, &job);
}

void gk_shortcut_forward(const gk_shortcut *s, int threads, gk_view in, float *out) {
  gk_shortcut_job job = {.shape = s, .in = in, .out = out};
  gk_parallel_for(threads, s->n, gk_tiles_here()->shortcut, &job);
}

void gk_shortcut_backward(const gk_shortcut *s, int threads, const float *gradient, float *to,
                          int accumulate) {
  gk_shortcut_job job = {.shape = s, .gradient = gradient, .to = to, .accumulate = accumulate};
  gk_parallel_for(threads, s->n, gk_tiles_here()->shortcut_backward, &job);
}
