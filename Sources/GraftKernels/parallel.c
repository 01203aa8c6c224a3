#include "graft_parallel.h"

#ifdef _OPENMP
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

/* Declared here because clang of the Swift toolchain does not have omp.h on its path. */
extern int omp_get_max_threads(void);
extern int omp_get_thread_num(void);
/* LLVM's own: for how many milliseconds a worker that has nothing to do spins before it sleeps. It
 * is a setting of the calling thread, 200 by default: long enough to slow down whatever the host
 * does next. */
extern int kmp_get_blocktime(void);
extern void kmp_set_blocktime(int milliseconds);
/* How many threads the runtime has; 0 where it has not started. Asking does not start it. */
extern int __kmpc_global_num_threads(void *location);

/* ---- when the runtime can be used ---------------------------------------------------------------
 *
 * Not once the process is exiting: the runtime takes its threads down in a destructor, and aborts
 * the process where another thread of the host's begins or ends parallel work from then on. Not in
 * a forked child that it knows nothing of: KMP_INIT_AT_FORK=FALSE, which joblib (scikit-learn)
 * sets, has it wait for threads that only the parent has. The work is then done on the calling
 * thread alone, to the same bits. */

static _Atomic int inside;          /* how many are in the runtime */
static _Thread_local int inside_me; /* how many of them are this thread */
static _Atomic int is_leaving;
static _Atomic int is_cut_off;
static _Atomic int is_watching;

/* Only the thread that has forked is in the child. A runtime that has begun anew has no threads. */
static void begin_anew(void) {
  atomic_store(&inside, 0);
  inside_me = 0;
  atomic_store(&is_cut_off, __kmpc_global_num_threads(NULL) > 0);
}

/* Handlers run in the order in which they were registered: this one is for a runtime that somebody
 * else has started already. */
__attribute__((constructor)) static void watch_forks(void) {
  (void)pthread_atfork(NULL, NULL, begin_anew);
}

static int enter(void) {
  atomic_fetch_add(&inside, 1);
  if (atomic_load(&is_leaving) || atomic_load(&is_cut_off)) {
    atomic_fetch_sub(&inside, 1);
    return 0;
  }
  ++inside_me;
  if (!atomic_load(&is_watching) && !atomic_exchange(&is_watching, 1)) {
    (void)omp_get_max_threads(); /* starts it, which registers its own handler before this one */
    (void)pthread_atfork(NULL, NULL, begin_anew);
  }
  return 1;
}

static void leave(void) {
  --inside_me;
  atomic_fetch_sub(&inside, 1);
}

/* Destructors of a library run before those of what it depends on: before the runtime's. */
__attribute__((destructor)) static void leave_for_good(void) {
  const struct timespec millisecond = {0, 1000000};
  atomic_store(&is_leaving, 1);
  /* Not for ever: a thread may have been stopped, or be this one, in a handler of a signal. */
  for (int i = 0; i < 2000 && atomic_load(&inside) > inside_me; ++i) nanosleep(&millisecond, NULL);
}

/* ---- a team -------------------------------------------------------------------------------------
 *
 * In a function of its own: the compiler has the runtime asked for the thread's number where the
 * function that holds the pragma begins. */

__attribute__((noinline)) static void work_as_team(int threads, int64_t tiles, gk_tile work,
                                                   void *context) {
  /* Tiles are handed out here: clang's code for schedule(dynamic) calls __kmpc_dispatch_deinit,
   * which the libomp of Debian 12 does not have. */
  _Atomic int64_t next = 0;
  int spin = kmp_get_blocktime();
  kmp_set_blocktime(1); /* covers the gaps between kernels; given back below */
#pragma omp parallel num_threads(threads)
  {
    int worker = omp_get_thread_num();
    /* Relaxed: it hands out numbers, and orders nothing. (Else a race between two tiles would
     * hide from the thread sanitizer wherever one worker's come to be drawn after the other's.) On
     * x86-64 it is a locked instruction all the same, which store_past counts on. */
    for (int64_t tile; (tile = atomic_fetch_add_explicit(&next, 1, memory_order_relaxed)) < tiles;)
      work(context, tile, worker);
  }
  kmp_set_blocktime(spin);
}
#endif

int gk_threads(int requested) {
  int threads = requested;
#ifdef _OPENMP
  if (threads <= 0 && enter()) {
    threads = omp_get_max_threads();
    leave();
  }
#else
  threads = 1;
#endif
  if (threads < 1) threads = 1;
  return threads < GK_MAX_THREADS ? threads : GK_MAX_THREADS;
}

void gk_parallel_for(int threads, int64_t tiles, gk_tile work, void *context) {
  threads = gk_threads(threads);
  if (threads > tiles) threads = (int)tiles;
#ifdef _OPENMP
  if (threads > 1 && enter()) {
    work_as_team(threads, tiles, work, context);
    leave();
    return;
  }
#endif
  for (int64_t tile = 0; tile < tiles; ++tile) work(context, tile, 0);
}
