/* Between the caller's strides and N x H x W x C without gaps. */
#include <string.h>

#include "convolution_plan.h"
#include "graft_parallel.h"
#include "graft_pooling.h"

typedef struct layout_job {
  const float *from;
  float *to;
  const int64_t *strides; /* image, channel, row, column */
  int64_t height, width, channels;
} layout_job;

static void gather_tile(void *context, int64_t image, int worker) {
  const layout_job *job = context;
  const int64_t *t = job->strides;
  (void)worker;
  float *to = job->to + image * job->height * job->width * job->channels;
  for (int64_t y = 0; y < job->height; ++y)
    for (int64_t x = 0; x < job->width; ++x)
      for (int64_t c = 0; c < job->channels; ++c)
        *to++ = job->from[image * t[0] + c * t[1] + y * t[2] + x * t[3]];
}

static void scatter_tile(void *context, int64_t image, int worker) {
  const layout_job *job = context;
  const int64_t *t = job->strides;
  (void)worker;
  const float *from = job->from + image * job->height * job->width * job->channels;
  for (int64_t y = 0; y < job->height; ++y)
    for (int64_t x = 0; x < job->width; ++x)
      for (int64_t c = 0; c < job->channels; ++c)
        job->to[image * t[0] + c * t[1] + y * t[2] + x * t[3]] = *from++;
}

void gk_gather_images(int threads, const float *from, const int64_t strides[4], float *to,
                      int64_t n, int64_t height, int64_t width, int64_t channels) {
  layout_job job = {from, to, strides, height, width, channels};
  gk_parallel_for(threads, n, gather_tile, &job);
}

void gk_scatter_images(int threads, const float *from, float *to, const int64_t strides[4],
                       int64_t n, int64_t height, int64_t width, int64_t channels) {
  layout_job job = {from, to, strides, height, width, channels};
  gk_parallel_for(threads, n, scatter_tile, &job);
}
