/* Pooling and the parameterless shortcut. One tile an image: these are small beside convolutions.
 */
#include "graft_pooling.h"

#include <string.h>

#include "convolution_plan.h"
#include "graft_parallel.h"

/* A view's value at `x` for channel c. */
static inline float value(const gk_view *view, float x, int64_t c) {
  float v = view->scale != NULL ? x * view->scale[c] + view->shift[c] : x;
  v = v > 0 ? v : v * view->slope;
  return view->ceiling > 0 && v > view->ceiling ? view->ceiling : v;
}

typedef struct pool_job {
  const gk_pooling *shape;
  gk_view in;
  float *out;
  int32_t *choice;
  const float *gradient;
  const int32_t *chosen;
  float *to;
  int accumulate;
} pool_job;

static void pool_tile(void *context, int64_t image, int worker) {
  const pool_job *job = context;
  const gk_pooling *s = job->shape;
  (void)worker;
  const float *x = job->in.x + image * s->height * s->width * s->channels;
  int64_t at = image * s->out_height * s->out_width * s->channels;
  float share = 1 / (float)(s->kernel * s->kernel);
  for (int64_t oy = 0; oy < s->out_height; ++oy) {
    for (int64_t ox = 0; ox < s->out_width; ++ox, at += s->channels) {
      int64_t top = oy * s->stride - s->padding, left = ox * s->stride - s->padding;
      int64_t y0 = gk_max(0, top), y1 = gk_min(s->height, top + s->kernel);
      int64_t x0 = gk_max(0, left), x1 = gk_min(s->width, left + s->kernel);
      for (int64_t c = 0; c < s->channels; ++c) {
        float sum = 0, most = 0;
        int32_t choice = -1;
        for (int64_t y = y0; y < y1; ++y)
          for (int64_t xx = x0; xx < x1; ++xx) {
            float v = value(&job->in, x[(y * s->width + xx) * s->channels + c], c);
            sum += v;
            if (choice < 0 || v > most || v != v) most = v, choice = (int32_t)(y * s->width + xx);
          }
        job->out[at + c] = s->average ? sum * share : most;
        if (job->choice != NULL) job->choice[at + c] = choice;
      }
    }
  }
}

void gk_pool_forward(const gk_pooling *s, int threads, gk_view in, float *out, int32_t *choice) {
  pool_job job = {.shape = s, .in = in, .out = out, .choice = s->average ? NULL : choice};
  gk_parallel_for(threads, s->n, pool_tile, &job);
}

static void pool_backward_tile(void *context, int64_t image, int worker) {
  const pool_job *job = context;
  const gk_pooling *s = job->shape;
  (void)worker;
  float *to = job->to + image * s->height * s->width * s->channels;
  int64_t at = image * s->out_height * s->out_width * s->channels;
  float share = 1 / (float)(s->kernel * s->kernel);
  if (!job->accumulate) memset(to, 0, (size_t)(s->height * s->width * s->channels) * sizeof(float));
  for (int64_t oy = 0; oy < s->out_height; ++oy) {
    for (int64_t ox = 0; ox < s->out_width; ++ox, at += s->channels) {
      if (!s->average) {
        for (int64_t c = 0; c < s->channels; ++c)
          to[job->chosen[at + c] * s->channels + c] += job->gradient[at + c];
        continue;
      }
      int64_t top = oy * s->stride - s->padding, left = ox * s->stride - s->padding;
      for (int64_t y = gk_max(0, top); y < gk_min(s->height, top + s->kernel); ++y)
        for (int64_t x = gk_max(0, left); x < gk_min(s->width, left + s->kernel); ++x)
          for (int64_t c = 0; c < s->channels; ++c)
            to[(y * s->width + x) * s->channels + c] += job->gradient[at + c] * share;
    }
  }
}

void gk_pool_backward(const gk_pooling *s, int threads, const float *gradient,
                      const int32_t *choice, float *to, int accumulate) {
  pool_job job = {
      .shape = s, .gradient = gradient, .chosen = choice, .to = to, .accumulate = accumulate};
  gk_parallel_for(threads, s->n, pool_backward_tile, &job);
}

/* ---- global ---- */

typedef struct global_job {
  gk_view in;
  float *out;
  const float *gradient;
  float *to;
  int accumulate;
  int64_t pixels, channels;
} global_job;

static void global_tile(void *context, int64_t image, int worker) {
  const global_job *job = context;
  (void)worker;
  const float *x = job->in.x + image * job->pixels * job->channels;
  float *out = job->out + image * job->channels, share = 1 / (float)job->pixels;
  memset(out, 0, (size_t)job->channels * sizeof(float));
  for (int64_t p = 0; p < job->pixels; ++p)
    for (int64_t c = 0; c < job->channels; ++c)
      out[c] += value(&job->in, x[p * job->channels + c], c);
  for (int64_t c = 0; c < job->channels; ++c) out[c] *= share;
}

void gk_global_pool_forward(int threads, gk_view in, float *out, int64_t n, int64_t pixels,
                            int64_t channels) {
  global_job job = {.in = in, .out = out, .pixels = pixels, .channels = channels};
  gk_parallel_for(threads, n, global_tile, &job);
}

static void global_backward_tile(void *context, int64_t image, int worker) {
  const global_job *job = context;
  (void)worker;
  const float *g = job->gradient + image * job->channels;
  float *to = job->to + image * job->pixels * job->channels, share = 1 / (float)job->pixels;
  for (int64_t p = 0; p < job->pixels; ++p, to += job->channels)
    for (int64_t c = 0; c < job->channels; ++c)
      to[c] = job->accumulate ? to[c] + g[c] * share : g[c] * share;
}

void gk_global_pool_backward(int threads, const float *gradient, float *to, int accumulate,
                             int64_t n, int64_t pixels, int64_t channels) {
  global_job job = {.gradient = gradient,
                    .to = to,
                    .accumulate = accumulate,
                    .pixels = pixels,
                    .channels = channels};
  gk_parallel_for(threads, n, global_backward_tile, &job);
}

/* ---- option A ---- */

typedef struct shortcut_job {
  const gk_shortcut *shape;
  gk_view in;
  float *out;
  const float *gradient;
  float *to;
  int accumulate;
} shortcut_job;

static void shortcut_tile(void *context, int64_t image, int worker) {
  const shortcut_job *job = context;
  const gk_shortcut *s = job->shape;
  (void)worker;
  float *out = job->out + image * s->out_height * s->out_width * s->out_channels;
  memset(out, 0, (size_t)(s->out_height * s->out_width * s->out_channels) * sizeof(float));
  for (int64_t y = 0; y < s->out_height; ++y)
    for (int64_t x = 0; x < s->out_width; ++x, out += s->out_channels) {
      const float *from =
          job->in.x +
          ((image * s->height + y * s->stride) * s->width + x * s->stride) * s->channels;
      for (int64_t c = 0; c < s->channels; ++c) out[s->first + c] = value(&job->in, from[c], c);
    }
}

void gk_shortcut_forward(const gk_shortcut *s, int threads, gk_view in, float *out) {
  shortcut_job job = {.shape = s, .in = in, .out = out};
  gk_parallel_for(threads, s->n, shortcut_tile, &job);
}

static void shortcut_backward_tile(void *context, int64_t image, int worker) {
  const shortcut_job *job = context;
  const gk_shortcut *s = job->shape;
  (void)worker;
  int64_t size = s->height * s->width * s->channels;
  float *to = job->to + image * size;
  const float *g = job->gradient + image * s->out_height * s->out_width * s->out_channels;
  if (!job->accumulate) memset(to, 0, (size_t)size * sizeof(float));
  for (int64_t y = 0; y < s->out_height; ++y)
    for (int64_t x = 0; x < s->out_width; ++x, g += s->out_channels) {
      float *at = to + (y * s->stride * s->width + x * s->stride) * s->channels;
      for (int64_t c = 0; c < s->channels; ++c) at[c] += g[s->first + c];
    }
}

void gk_shortcut_backward(const gk_shortcut *s, int threads, const float *gradient, float *to,
                          int accumulate) {
  shortcut_job job = {.shape = s, .gradient = gradient, .to = to, .accumulate = accumulate};
  gk_parallel_for(threads, s->n, shortcut_backward_tile, &job);
}
