/* Work split into tiles of a fixed size, so that results do not depend on the number of threads.
 * The one place where the kernels meet OpenMP. */
#ifndef GRAFT_PARALLEL_H
#define GRAFT_PARALLEL_H

#include <stddef.h>
#include <stdint.h>

/* Works on tile `tile`. `worker` is 0 to threads - 1, no two tiles at once on the same worker:
 * use it for scratch memory, never to decide a result. */
typedef void (*gk_tile)(void *context, int64_t tile, int worker);

/* The number of threads that a request stands for: itself if positive, else what OpenMP would take.
 * At least 1, at most GK_MAX_THREADS. */
int gk_threads(int requested);

#define GK_MAX_THREADS 256

/* Runs `work` once for every tile 0 to tiles - 1, in any order, on up to `threads` threads. */
void gk_parallel_for(int threads, int64_t tiles, gk_tile work, void *context);

#endif
