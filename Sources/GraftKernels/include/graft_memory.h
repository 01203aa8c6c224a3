/* Memory whose size a caller or a file decides. It can fail, and then says so with NULL: Swift's
 * own allocation would end the host process. */
#ifndef GRAFT_MEMORY_H
#define GRAFT_MEMORY_H

#include <stddef.h>

/* `count` * `size` bytes aligned to 64, set to zero; NULL if that overflows or cannot be had. */
void *gk_allocate(size_t count, size_t size);

/* Gives back what gk_allocate gave. NULL is allowed. */
void gk_free(void *memory);

/* Sets bytes of what gk_allocate gave to zero and lets the system have the pages they fill, until
 * something is written there again. */
void gk_discard(void *memory, size_t bytes);

#endif
