/** @file
 * Graft: filter grafting for neural networks.
 *
 * It makes a network more accurate and costs nothing more to run ("Filter Grafting for Deep Neural
 * Networks: Reason, Method, and Cultivation", arXiv 2004.12311).
 *
 * Rules of the whole interface:
 * - A call that can fail returns a graft_status; results go through out-pointers, written only on
 *   GRAFT_OK. graft_last_error() says what was wrong with which argument.
 * - Options are structs whose first member is their size. Fill them with their _init function and
 *   change what you want; a later version may add fields at the end without breaking you. Structs
 *   that the library fills have their struct_size set by the caller, for the same reason.
 * - Handles are made by calls that say so and ended by their _destroy. Two threads may use
 *   different handles at once; one handle is used by one thread at a time. A handle that has ended,
 *   one of another kind and whatever else is none get GRAFT_INVALID_ARGUMENT, always: a handle is
 *   never read through, and none is given out twice. (Only to use one while another thread is ending
 *   it is undefined.)
 * - The library never prints, never ends the process, keeps no pointer after a call unless its
 *   comment says so, and leaves the process's own settings (threads of OpenMP or BLAS) alone.
 */
#ifndef GRAFT_H
#define GRAFT_H

#include "graft/architectures.h"
#include "graft/augmentation.h"
#include "graft/dataset.h"
#include "graft/distillation.h"
#include "graft/grafting.h"
#include "graft/information.h"
#include "graft/network.h"
#include "graft/operations.h"
#include "graft/predictor.h"
#include "graft/status.h"
#include "graft/tensor.h"
#include "graft/trainer.h"
#include "graft/version.h"

#endif
