#include "graft_memory.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>
#endif

/* calloc gives large blocks as pages that the system fills with zeros when they are first touched:
 * memory that is never used costs nothing. The block's own address lies before what is handed out.
 */

#define ALIGNMENT 64

/* A large block asks for large pages: passes over a batch's values, in rows or across them, then
 * wait less for the tables of the pages. No more than a wish, and only for whole pages inside. */
#define LARGE_PAGE ((uintptr_t)1 << 21)
static void prefer_large_pages(char *block, size_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  uintptr_t first = ((uintptr_t)block + LARGE_PAGE - 1) / LARGE_PAGE * LARGE_PAGE;
  uintptr_t end = ((uintptr_t)block + bytes) / LARGE_PAGE * LARGE_PAGE;
  if (first < end && bytes >= 2 * LARGE_PAGE)
    (void)madvise((void *)first, end - first, MADV_HUGEPAGE);
#else
  (void)block, (void)bytes;
#endif
}

void *gk_allocate(size_t count, size_t size) {
  size_t bytes;
  if (__builtin_mul_overflow(count, size, &bytes) || bytes > PTRDIFF_MAX - 2 * ALIGNMENT)
    return NULL;
  char *block = calloc(1, bytes + 2 * ALIGNMENT);
  if (block == NULL) return NULL;
  prefer_large_pages(block, bytes);
  char *memory = block + ALIGNMENT + (ALIGNMENT - (uintptr_t)block % ALIGNMENT) % ALIGNMENT;
  ((void **)memory)[-1] = block;
  return memory;
}

void gk_free(void *memory) {
  if (memory != NULL) free(((void **)memory)[-1]);
}

void gk_discard(void *memory, size_t bytes) {
  char *first = memory, *end = first + bytes;
#if defined(__linux__)
  /* Private pages without a file, as the C library's are, read as zeros afterwards. */
  uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
  char *whole = (char *)(((uintptr_t)first + page - 1) / page * page);
  char *last = (char *)((uintptr_t)end / page * page);
  if (whole < last && madvise(whole, (size_t)(last - whole), MADV_DONTNEED) == 0) {
    memset(first, 0, (size_t)(whole - first));
    first = last;
  }
#endif
  memset(first, 0, (size_t)(end - first));
}
