/* The tiles for any processor: 4 lanes, in the compiler's own vectors (SSE2, NEON). */
#include <math.h>
#include <string.h>
#include "bfloat16.h"
#include "tiles.h"

#define LANES 4
/* Filters that a loop works on at once: 2 vectors. */
#define SUBPANEL 8
#define TILES gk_tiles_baseline

#include "tiles_variant.h"
