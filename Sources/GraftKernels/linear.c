#include "graft_linear.h"

#include <cblas.h>
#include <pthread.h>
#include <string.h>

#include "convolution_plan.h"
#include "graft_parallel.h"

/* Rows of a tile: fixed, so that a product's order of additions never depends on the threads. */
#define ROWS 64

/* Debian's serial OpenBLAS is built without locking: two threads in it at once share a work buffer
 * and get wrong products. One at a time, then. */
static pthread_mutex_t blas_lock = PTHREAD_MUTEX_INITIALIZER;

/* A child that is forked while another thread multiplies would find the lock taken for good, and
 * OpenBLAS's work buffer marked as in use: the fork waits for the product at hand. */
static void lock_blas(void) { pthread_mutex_lock(&blas_lock); }
static void unlock_blas(void) { pthread_mutex_unlock(&blas_lock); }

__attribute__((constructor)) static void prepare_for_forks(void) {
  pthread_atfork(lock_blas, unlock_blas, unlock_blas);
}

typedef struct linear_job {
  const float *x, *weights, *bias, *dy;
  float *y, *dx, *dw;
  int64_t n, in, out;
  int accumulate;
} linear_job;

static void forward_tile(void *context, int64_t tile, int worker) {
  const linear_job *job = context;
  (void)worker;
  int64_t first = tile * ROWS, rows = gk_min(ROWS, job->n - first);
  float *y = job->y + first * job->out;
  for (int64_t r = 0; job->bias != NULL && r < rows; ++r)
    memcpy(y + r * job->out, job->bias, (size_t)job->out * sizeof(float));
  pthread_mutex_lock(&blas_lock);
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)rows, (int)job->out, (int)job->in, 1,
              job->x + first * job->in, (int)job->in, job->weights, (int)job->in, job->bias != NULL,
              y, (int)job->out);
  pthread_mutex_unlock(&blas_lock);
}

static void input_tile(void *context, int64_t tile, int worker) {
  const linear_job *job = context;
  (void)worker;
  int64_t first = tile * ROWS, rows = gk_min(ROWS, job->n - first);
  pthread_mutex_lock(&blas_lock);
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)rows, (int)job->in, (int)job->out, 1,
              job->dy + first * job->out, (int)job->out, job->weights, (int)job->in,
              (float)job->accumulate, job->dx + first * job->in, (int)job->in);
  pthread_mutex_unlock(&blas_lock);
}

static void weights_tile(void *context, int64_t tile, int worker) {
  const linear_job *job = context;
  (void)worker;
  int64_t first = tile * ROWS, rows = gk_min(ROWS, job->out - first);
  pthread_mutex_lock(&blas_lock);
  cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)rows, (int)job->in, (int)job->n, 1,
              job->dy + first, (int)job->out, job->x, (int)job->in, 0, job->dw + first * job->in,
              (int)job->in);
  pthread_mutex_unlock(&blas_lock);
}

void gk_linear_forward(int threads, const float *x, const float *weights, const float *bias,
                       float *y, int64_t n, int64_t in, int64_t out) {
  linear_job job = {.x = x, .weights = weights, .bias = bias, .y = y, .n = n, .in = in, .out = out};
  gk_parallel_for(threads, gk_ceil_div(n, ROWS), forward_tile, &job);
}

void gk_linear_backward(int threads, const float *x, const float *weights, const float *dy,
                        float *dx, int accumulate, float *dw, float *db, int64_t n, int64_t in,
                        int64_t out) {
  linear_job job = {.x = x,
                    .weights = weights,
                    .dy = dy,
                    .dx = dx,
                    .dw = dw,
                    .n = n,
                    .in = in,
                    .out = out,
                    .accumulate = accumulate};
  if (dx != NULL) gk_parallel_for(threads, gk_ceil_div(n, ROWS), input_tile, &job);
  gk_parallel_for(threads, gk_ceil_div(out, ROWS), weights_tile, &job);
  for (int64_t o = 0; db != NULL && o < out; ++o) {
    double sum = 0;
    for (int64_t r = 0; r < n; ++r) sum += dy[r * out + o];
    db[o] = (float)sum;
  }
}
