/* The table of live handles, from several threads: a handle is found while it is live and by nobody
 * afterwards, no number comes twice, and of several who end one handle one alone gets its object.
 */
#include <graft_handles.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define THREADS 4
#define ROUNDS 200
#define HELD 700 /* of each thread: together more than a chunk of the table has */

static void need(int condition, const char *what) {
  if (!condition) {
    fprintf(stderr, "%s\n", what);
    exit(1);
  }
}

static char objects[THREADS][HELD];
static uintptr_t ended[THREADS][ROUNDS * HELD];
static _Atomic(uintptr_t) shared[HELD];
static atomic_int shared_ends;
static pthread_barrier_t barrier;

static void *work(void *argument) {
  size_t me = (size_t)argument;
  uintptr_t live[HELD], *past = ended[me], kind = 0;
  size_t passed = 0;
  for (size_t round = 0; round < ROUNDS; ++round) {
    for (size_t i = 0; i < HELD; ++i) live[i] = gk_handle_make(me + 1, &objects[me][i]);
    for (size_t i = 0; i < HELD; ++i) {
      need(gk_handle_find(live[i], &kind) == &objects[me][i], "a live handle is not found");
      need(kind == me + 1, "a handle of another kind");
      need(gk_handle_end(live[i]) == &objects[me][i], "a live handle does not end");
      need(gk_handle_end(live[i]) == NULL, "a handle ends twice");
      past[passed++] = live[i];
    }
    for (size_t i = 0; i < passed; i += 97)
      need(gk_handle_find(past[i], &kind) == NULL, "a handle that has ended is found");
    /* One thread makes handles that all then try to end. */
    pthread_barrier_wait(&barrier);
    if (me == 0)
      for (size_t i = 0; i < HELD; ++i) shared[i] = gk_handle_make(9, &objects[0][i]);
    pthread_barrier_wait(&barrier);
    for (size_t i = 0; i < HELD; ++i)
      if (gk_handle_end(shared[i]) != NULL) atomic_fetch_add(&shared_ends, 1);
  }
  return NULL;
}

static int order(const void *a, const void *b) {
  uintptr_t x = *(const uintptr_t *)a, y = *(const uintptr_t *)b;
  return x < y ? -1 : x > y;
}

int main(void) {
  uintptr_t kind;
  const uintptr_t never[] = {0, 1, 8, (uintptr_t)&kind, (uintptr_t)6 << 60, UINTPTR_MAX};
  for (size_t i = 0; i < sizeof never / sizeof *never; ++i) {
    need(gk_handle_find(never[i], &kind) == NULL, "what is no handle is found");
    need(gk_handle_end(never[i]) == NULL, "what is no handle ends");
  }
  pthread_t threads[THREADS];
  pthread_barrier_init(&barrier, NULL, THREADS);
  for (size_t t = 0; t < THREADS; ++t) pthread_create(&threads[t], NULL, work, (void *)t);
  for (size_t t = 0; t < THREADS; ++t) pthread_join(threads[t], NULL);
  need(shared_ends == ROUNDS * HELD, "a handle was ended by none or by two");
  uintptr_t *all = &ended[0][0];
  size_t count = sizeof ended / sizeof *all;
  qsort(all, count, sizeof *all, order);
  for (size_t i = 1; i < count; ++i) need(all[i] != all[i - 1], "a number was given out twice");
  printf("%zu handles\n", count);
  return 0;
}
