#include "graft_instructions.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[] = {"baseline", "avx2", "avx512", "avx512bf16"};

const char *gk_instruction_name(gk_instructions set) { return names[set]; }

static gk_instructions detect(void) {
  gk_instructions best = GK_BASELINE;
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) best = GK_AVX2;
  if (best == GK_AVX2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq"))
    best = GK_AVX512;
  if (best == GK_AVX512 && __builtin_cpu_supports("avx512bf16")) best = GK_AVX512BF16;
#endif
  const char *asked = getenv("GRAFT_INSTRUCTIONS");
  for (int set = GK_BASELINE; asked != NULL && set < (int)best; ++set)
    if (strcmp(asked, names[set]) == 0) return (gk_instructions)set;
  return best;
}

gk_instructions gk_instruction_set(void) {
  static _Atomic int known = -1; /* two threads that come first at once find the same */
  int set = atomic_load_explicit(&known, memory_order_relaxed);
  if (set < 0) {
    set = (int)detect();
    atomic_store_explicit(&known, set, memory_order_relaxed);
  }
  return (gk_instructions)set;
}
