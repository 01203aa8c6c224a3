#include "graft_parallel.h"

#ifdef _OPENMP
#include <stdatomic.h>

/* Declared here because clang of the Swift toolchain does not have omp.h on its path. */
extern int omp_get_max_threads(void);
extern int omp_get_thread_num(void);
/* LLVM's own: for how many milliseconds a worker that has nothing to do spins before it sleeps. It
 * is a setting of the calling thread, 200 by default: long enough to slow down whatever the host
 * does next. */
extern int kmp_get_blocktime(void);
extern void kmp_set_blocktime(int milliseconds);
#endif

int gk_threads(int requested) {
  int threads = requested;
#ifdef _OPENMP
  if (threads <= 0) threads = omp_get_max_threads();
#else
  threads = 1;
#endif
  if (threads < 1) threads = 1;
  return threads < GK_MAX_THREADS ? threads : GK_MAX_THREADS;
}

void gk_parallel_for(int threads, int64_t tiles, gk_tile work, void *context) {
  threads = gk_threads(threads);
  if (threads > tiles) threads = (int)tiles;
  if (threads <= 1) {
    for (int64_t tile = 0; tile < tiles; ++tile) work(context, tile, 0);
    return;
  }
#ifdef _OPENMP
  /* Tiles are handed out here: clang's code for schedule(dynamic) calls __kmpc_dispatch_deinit,
   * which the libomp of Debian 12 does not have. */
  _Atomic int64_t next = 0;
  int spin = kmp_get_blocktime();
  kmp_set_blocktime(1); /* covers the gaps between kernels; given back below */
#pragma omp parallel num_threads(threads)
  {
    int worker = omp_get_thread_num();
    for (int64_t tile; (tile = atomic_fetch_add(&next, 1)) < tiles;) work(context, tile, worker);
  }
  kmp_set_blocktime(spin);
#endif
}
