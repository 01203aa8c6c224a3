/* The host's floating-point state: rounding, flushed denormals, traps. */
#ifndef GRAFT_HOST_FLOATS_H
#define GRAFT_HOST_FLOATS_H

/* Sets the calling thread to the state that a process starts with and returns what it had; what
 * runs in parallel below takes it over from this thread. */
unsigned gk_leave_host_floats(void);

/* Gives the thread its own state back. */
void gk_enter_host_floats(unsigned before);

#endif
