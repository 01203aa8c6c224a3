/* What the kernels do with sizes. Internal. */
#ifndef GRAFT_INTEGERS_H
#define GRAFT_INTEGERS_H

#include <stdint.h>

static inline int64_t gk_min(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t gk_max(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t gk_ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

#endif
