/** @file
 * A network as it is deployed: a copy of its weights in the form that the kernels take them, batch
 * norms folded into the convolutions before them, and nothing that only training needs.
 */
#ifndef GRAFT_PREDICTOR_H
#define GRAFT_PREDICTOR_H

#include "network.h"
#include "status.h"
#include "tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A network's forward pass with weights of its own. One thread at a time may use it. */
typedef struct graft_predictor graft_predictor;

/** Fill with graft_predictor_options_init, then change fields. */
typedef struct graft_predictor_options {
  size_t struct_size;
  /** What it gives: a value of the network; -1 (default) for the network's output. */
  graft_value value;
  /**
   * 1 (default): a batch norm that alone follows a convolution becomes part of its weights, the
   * same numbers but for rounding. 0: the bits of graft_network_forward in evaluation.
   */
  int32_t fold;
  /** Threads, up to 256; 0 (default) takes what OpenMP would. The same bits at any number. */
  int32_t threads;
} graft_predictor_options;

/** Writes the defaults into the first `size` bytes of *options and sets its struct_size. */
void graft_predictor_options_init(graft_predictor_options *options, size_t size);

/**
 * Makes a predictor of a finished network as it is now: what happens to the network later, its end
 * included, does not show. Weights that are used once, at the end of training, cost less with
 * graft_network_infer; a predictor reads them once and not at every call.
 *
 * @param options NULL for the defaults.
 * @param predictor receives the predictor; end it with graft_predictor_destroy.
 */
graft_status graft_predictor_create(const graft_network *network,
                                    const graft_predictor_options *options,
                                    graft_predictor **predictor);

/**
 * The same for a network that is not needed any more: its weights go over to the predictor layer by
 * layer, so that the two copies of all weights that graft_predictor_create has to hold are never
 * there at once. Afterwards all of the network's tensors are zeros, for whoever else holds it, too;
 * end it, or load weights. On an error its weights are what they were; a training pass that waited
 * to be run backward may be forgotten.
 *
 * @param options NULL for the defaults.
 * @param predictor receives the predictor; end it with graft_predictor_destroy.
 */
graft_status graft_predictor_take(graft_network *network, const graft_predictor_options *options,
                                  graft_predictor **predictor);

/** Ends a predictor. NULL is allowed. */
void graft_predictor_destroy(graft_predictor *predictor);

/** Shape of what it gives for one image: channels, height, width (features, 1, 1). */
graft_status graft_predictor_output_shape(const graft_predictor *predictor, int64_t shape[3]);

/**
 * Runs it.
 *
 * @param images N x C x H x W, GRAFT_FLOAT32, N from 1 to 65536.
 * @param output N x C x H x W or, where the output has height and width 1, N x C.
 */
graft_status graft_predictor_run(graft_predictor *predictor, const graft_tensor *images,
                                 const graft_tensor *output);

#ifdef __cplusplus
}
#endif
#endif
