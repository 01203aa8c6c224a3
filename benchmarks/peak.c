/* What this machine can do, as measured: multiply-adds in vectors, in float32 and, where the
 * processor has it, of bfloat16 into float32; and copying memory. Compiled by machine.py.
 *
 *     peak THREADS MILLISECONDS     prints "float32 FLOP/s", "bfloat16 FLOP/s" (0 without),
 *                                   "copy B/s": read and written bytes both count
 *
 * Arithmetic counts at its best of many short slices, so that what else runs on the machine does
 * not lower it; copying, which all threads share, as a mean.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if defined(__AVX512F__)
#include <immintrin.h>
#define LANES 16
#elif defined(__AVX__)
#define LANES 8
#else
#define LANES 4
#endif

/* More chains than latency times units, and few enough for the registers of AVX2. */
#define CHAINS 12
#define COPIED ((size_t)128 << 20)

typedef float vf __attribute__((vector_size(4 * LANES)));

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double seconds;

/* Keeps a value from being optimised away, and from being known. */
#define HIDE(x) __asm__ volatile("" : "+m"(x))

/* Steps of a slice: a fraction of a millisecond. */
#define SLICE 100000

/* The greater of `best` and the steps a second of a slice that began at *start; moves *start. */
static double slice(double *start, double best) {
  double end = now(), rate = SLICE / (end - *start);
  *start = end;
  return rate > best ? rate : best;
}

static double float32(void) {
  vf sums[CHAINS];
  vf a = (vf){0} + 0.5f, b = (vf){0} + 0.25f;
  HIDE(a);
  HIDE(b);
  for (int i = 0; i < CHAINS; ++i) sums[i] = a * (float)i;
  double best = 0, began = now();
  for (double start = began; start - began < seconds;) {
    for (int step = 0; step < SLICE; ++step)
      for (int i = 0; i < CHAINS; ++i) sums[i] = sums[i] * a + b;
    best = slice(&start, best);
  }
  for (int i = 1; i < CHAINS; ++i) sums[0] += sums[i];
  HIDE(sums[0]);
  return best * CHAINS * LANES * 2;
}

static double bfloat16(void) {
#if defined(__AVX512BF16__)
  __m512 sums[CHAINS];
  __m512i bits = _mm512_set1_epi16(0x3f00); /* 0.5 */
  HIDE(bits);
  __m512bh a = (__m512bh)bits;
  for (int i = 0; i < CHAINS; ++i) sums[i] = _mm512_setzero_ps();
  double best = 0, began = now();
  for (double start = began; start - began < seconds;) {
    for (int step = 0; step < SLICE; ++step)
      for (int i = 0; i < CHAINS; ++i) sums[i] = _mm512_dpbf16_ps(sums[i], a, a);
    best = slice(&start, best);
  }
  for (int i = 1; i < CHAINS; ++i) sums[0] = _mm512_add_ps(sums[0], sums[i]);
  HIDE(sums[0]);
  return best * CHAINS * 32 * 2;
#else
  return 0;
#endif
}

typedef struct result {
  double rates[3];
} result;

static pthread_barrier_t barrier;

static void *measure(void *to) {
  result *found = to;
  char *from = malloc(COPIED), *into = malloc(COPIED);
  if (from == NULL || into == NULL) exit(1);
  memset(from, 1, COPIED), memset(into, 2, COPIED);
  pthread_barrier_wait(&barrier);
  found->rates[0] = float32();
  pthread_barrier_wait(&barrier);
  found->rates[1] = bfloat16();
  pthread_barrier_wait(&barrier);
  double began = now(), took;
  double bytes = 0;
  do {
    memcpy(into, from, COPIED);
    HIDE(into[0]);
    bytes += 2.0 * COPIED;
    took = now() - began;
  } while (took < seconds);
  found->rates[2] = bytes / took;
  free(from), free(into);
  return NULL;
}

int main(int count, char **arguments) {
  int threads = count > 1 ? atoi(arguments[1]) : 0;
  if (count != 3 || threads < 1 || threads > 256) return 2;
  seconds = atof(arguments[2]) / 1000;
  pthread_t ids[256];
  result found[256];
  pthread_barrier_init(&barrier, NULL, (unsigned)threads);
  for (int i = 0; i < threads; ++i)
    if (pthread_create(&ids[i], NULL, measure, &found[i]) != 0) return 1;
  double sums[3] = {0};
  for (int i = 0; i < threads; ++i) {
    pthread_join(ids[i], NULL);
    for (int k = 0; k < 3; ++k) sums[k] += found[i].rates[k];
  }
  printf("%.6g %.6g %.6g\n", sums[0], sums[1], sums[2]);
  return 0;
}
