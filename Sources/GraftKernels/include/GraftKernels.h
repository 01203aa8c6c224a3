/* The kernels: hot loops in C, one file an operation, no state, no allocation. */
#ifndef GRAFT_KERNELS_H
#define GRAFT_KERNELS_H

#include "graft_batch.h"
#include "graft_blend.h"
#include "graft_concatenation.h"
#include "graft_convolution.h"
#include "graft_depthwise.h"
#include "graft_distillation.h"
#include "graft_dropout.h"
#include "graft_elementwise.h"
#include "graft_grouped.h"
#include "graft_handles.h"
#include "graft_host_floats.h"
#include "graft_information.h"
#include "graft_instructions.h"
#include "graft_linear.h"
#include "graft_memory.h"
#include "graft_message.h"
#include "graft_norm.h"
#include "graft_optimiser.h"
#include "graft_parallel.h"
#include "graft_pooling.h"
#include "graft_sweep.h"
#include "graft_system.h"
#include "graft_weights.h"

#endif
