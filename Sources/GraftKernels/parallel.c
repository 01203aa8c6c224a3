#include "graft_parallel.h"

#ifdef _OPENMP
/* Declared here because clang of the Swift toolchain does not have omp.h on its path. */
extern int omp_get_max_threads(void);
extern int omp_get_thread_num(void);
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
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1)
  for (int64_t tile = 0; tile < tiles; ++tile) work(context, tile, omp_get_thread_num());
#endif
}
