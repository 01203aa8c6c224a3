/* Loaded before the C library: makes an allocation of the library's fail.
 *
 * Memory whose size the caller or a file decides is asked for in one place (memory.c), as calloc of
 * one block of the size and 128 bytes. Those calls alone, from libgraft.so alone, are counted here.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

extern void *__libc_calloc(size_t count, size_t size);

static atomic_long left = -1, seen = 0;

/* The call after `calls` more fails, and that one alone; negative: none does. */
void fail_after(long calls) {
  atomic_store(&left, calls);
  atomic_store(&seen, 0);
}

/* Calls since then. */
long calls_seen(void) { return atomic_load(&seen); }

void *calloc(size_t count, size_t size) {
  Dl_info from;
  if (count == 1 && size >= 128 && dladdr(__builtin_return_address(0), &from) != 0 &&
      strstr(from.dli_fname, "libgraft.so") != NULL) {
    atomic_fetch_add(&seen, 1);
    if (atomic_load(&left) >= 0 && atomic_fetch_sub(&left, 1) == 0) return NULL;
  }
  return __libc_calloc(count, size);
}
