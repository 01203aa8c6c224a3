/* The table of live handles: what an opaque `graft_... *` of the C interface stands for.
 *
 * A handle is a number, not an address. Nothing that a caller passes as one is ever read through,
 * and a number is never given out twice, so that a handle which has ended, memory of the caller's
 * and a pointer that was never set are all told from a live handle, for certain.
 *
 * Without locks: a process that forks while another of its threads makes a handle has a whole table
 * in the child. */
#ifndef GRAFT_HANDLES_H
#define GRAFT_HANDLES_H

#include <stdint.h>

/* What is not a handle. */
#define GK_NO_HANDLE ((uintptr_t)0)

/* A new handle of an object that is not NULL, or GK_NO_HANDLE where there is no memory for it (or
 * 16 million are live). */
uintptr_t gk_handle_make(uintptr_t kind, void *object);

/* The object of a live handle, and its kind; NULL for any other number. */
void *gk_handle_find(uintptr_t handle, uintptr_t *kind);

/* Ends a live handle: its object, which is now the caller's, or NULL if there is none or another
 * thread came first. */
void *gk_handle_end(uintptr_t handle);

#endif
