/* The method's numbers are exact for denormals too, whatever the host has set for itself
 * (torch.set_flush_denormal, a rounding mode): its loops run between these two. */
#ifndef GRAFT_FLOAT_ENVIRONMENT_H
#define GRAFT_FLOAT_ENVIRONMENT_H

/* For a function whose arithmetic belongs between the two: inlined, the compiler could move it out,
 * since it does not know what the two change. (Calls through a pointer are safe as they are.) */
#define GK_APART __attribute__((noinline))

#if defined(__SSE2__)
#include <xmmintrin.h>
static inline unsigned gk_plain_floats(void) {
  unsigned before = _mm_getcsr();
  _mm_setcsr(0x1F80); /* the state that a process starts with */
  return before;
}
static inline void gk_restore_floats(unsigned before) { _mm_setcsr(before); }
#else
static inline unsigned gk_plain_floats(void) { return 0; }
static inline void gk_restore_floats(unsigned before) { (void)before; }
#endif

#endif
