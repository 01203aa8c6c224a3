/* One number rounded to bfloat16, to nearest even. Internal. */
#ifndef GRAFT_BFLOAT16_H
#define GRAFT_BFLOAT16_H

#include <stdint.h>
#include <string.h>

/* Halves of memory that is otherwise used as floats. */
typedef uint16_t __attribute__((may_alias)) gk_half;

static inline uint16_t gk_bfloat16(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  if ((bits & 0x7fffffff) > 0x7f800000) return (uint16_t)(bits >> 16 | 0x40); /* not a number */
  return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

#endif
