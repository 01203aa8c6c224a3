#include "graft_memory.h"

#include <stdint.h>
#include <stdlib.h>

/* calloc gives large blocks as pages that the system fills with zeros when they are first touched:
 * memory that is never used costs nothing. The block's own address lies before what is handed out.
 */

#define ALIGNMENT 64

void *gk_allocate(size_t count, size_t size) {
  size_t bytes;
  if (__builtin_mul_overflow(count, size, &bytes) || bytes > PTRDIFF_MAX - 2 * ALIGNMENT)
    return NULL;
  char *block = calloc(1, bytes + 2 * ALIGNMENT);
  if (block == NULL) return NULL;
  char *memory = block + ALIGNMENT + (ALIGNMENT - (uintptr_t)block % ALIGNMENT) % ALIGNMENT;
  ((void **)memory)[-1] = block;
  return memory;
}

void gk_free(void *memory) {
  if (memory != NULL) free(((void **)memory)[-1]);
}
