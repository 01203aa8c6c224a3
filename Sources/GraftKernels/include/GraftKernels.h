/* The kernels: hot loops in C, one file an operation, no state, no allocation. */
#ifndef GRAFT_KERNELS_H
#define GRAFT_KERNELS_H

#include "graft_memory.h"
#include "graft_message.h"
#include "graft_parallel.h"

#endif
