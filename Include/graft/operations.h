/** @file
 * What a network is made of: its operations in order, what each reads and which tensors it owns
 * (enough to write the network down in another format), what follows what in a graft, and the
 * activations at any place within.
 *
 * Every operation puts out one value, and values are numbered as they were added: operation i puts
 * out value i. Operation 0 is the input.
 */
#ifndef GRAFT_OPERATIONS_H
#define GRAFT_OPERATIONS_H

#include "grafting.h"
#include "network.h"
#include "status.h"
#include "tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/** What an operation does. */
typedef enum graft_operation_kind {
  GRAFT_OPERATION_INPUT = 0,
  /** Tensors: weight, and bias where there is one. */
  GRAFT_OPERATION_CONVOLUTION = 1,
  /** Tensors: weight, bias, running_mean, running_var, num_batches_tracked. */
  GRAFT_OPERATION_BATCH_NORM = 2,
  GRAFT_OPERATION_RELU = 3,
  GRAFT_OPERATION_SUM = 4,
  /** graft_network_shortcut: strided, then padded with zero channels before and after. */
  GRAFT_OPERATION_SHORTCUT = 5,
  GRAFT_OPERATION_POOL = 6,
  GRAFT_OPERATION_GLOBAL_POOL = 7,
  /** Tensors: weight, and bias where there is one. */
  GRAFT_OPERATION_LINEAR = 8,
  /** Its inputs' channels, in their order. */
  GRAFT_OPERATION_CONCATENATION = 9,
  /** Nothing in evaluation. */
  GRAFT_OPERATION_DROPOUT = 10
} graft_operation_kind;

/** An operation. Numbers that its kind does not have are 0. */
typedef struct graft_operation {
  size_t struct_size;
  graft_operation_kind kind;
  /** The layer's name, or the value's (graft_network_label); "" for none. Lives as the network. */
  const char *name;
  /** What it reads: `input_count` earlier values. Lives as long as the network. */
  const graft_value *inputs;
  size_t input_count;
  /** What it puts out for one image. */
  int64_t channels, height, width;
  /** The tensors it owns: `tensor_count` of them from this index on (graft_network_tensor). */
  size_t first_tensor, tensor_count;
  /** Convolution and pooling. */
  int64_t kernel_height, kernel_width;
  /** Convolution, pooling and shortcut. */
  int64_t stride_height, stride_width;
  /** Convolution and pooling: on both sides. */
  int64_t padding_height, padding_width;
  /** Convolution. */
  int64_t dilation_height, dilation_width, groups;
  /** Pooling: the maximum ignores padding, the average counts it as zeros. */
  graft_pooling pooling;
  /** Shortcut: how many zero channels come before the input's. */
  int64_t first_channel;
  /** Batch norm. */
  double epsilon, momentum;
  /** Rectifier: min(x > 0 ? x : negative_slope * x, ceiling); INFINITY for no ceiling. */
  double negative_slope, ceiling;
  /** Dropout: the share of numbers that training sets to zero. */
  double probability;
} graft_operation;

/** Number of operations, and so of values, the input among them. 0 for NULL. */
size_t graft_network_operation_count(const graft_network *network);

/** Describes an operation. `operation->struct_size` is set by the caller. */
graft_status graft_network_operation(const graft_network *network, size_t index,
                                     graft_operation *operation);

/** Gives the value that the network puts out. */
graft_status graft_network_output(const graft_network *network, graft_value *output);

/* ---- where the time goes -------------------------------------------------------------------- */

/**
 * Says whether training passes take the time of every operation; they do not at first. Switching it
 * on begins at 0, also where it was on. It costs some reads of a clock in each pass.
 *
 * @param on 0 or 1.
 */
graft_status graft_network_set_timing(graft_network *network, int32_t on);

/**
 * Gives the seconds that an operation took, over all training passes since timing was switched on.
 * What is done along with a neighbour's work counts to that neighbour: a rectifier to those who
 * read through it, a batch norm's statistics to the convolution or concatenation before it, the
 * second step of its backward pass to whoever takes that gradient.
 *
 * @param forward receives seconds, 0 where the operation had no step of its own.
 * @param backward the same.
 * @return GRAFT_INVALID_STATE while timing is off.
 */
graft_status graft_network_operation_time(const graft_network *network, size_t index,
                                          double *forward, double *backward);

/* ---- names --------------------------------------------------------------------------------- */

/**
 * Gives a value that has no name yet one of its own: a join, the features, whatever is to be found
 * again. The values of named layers have those names already.
 *
 * @param name unique among layers and labels, without control characters.
 */
graft_status graft_network_label(graft_network *network, graft_value value, const char *name);

/** Finds a value by its layer's name or its label; GRAFT_INVALID_ARGUMENT where there is none. */
graft_status graft_network_find(const graft_network *network, const char *name, graft_value *value);

/* ---- features ------------------------------------------------------------------------------ */

/**
 * Gives the value that the network's last layer, a linear one, reads: the features that a
 * recognition task compares. GRAFT_UNSUPPORTED where the network does not end in a linear layer.
 */
graft_status graft_network_penultimate(const graft_network *network, graft_value *value);

/**
 * Runs the network in evaluation up to a value and gives what is there.
 *
 * @param value of this network, for instance graft_network_penultimate's.
 * @param images N x C x H x W, GRAFT_FLOAT32, N from 1 to 65536.
 * @param output of the value's shape, N x C x H x W or, where height and width are 1, N x C.
 */
graft_status graft_network_features(graft_network *network, graft_value value,
                                    const graft_tensor *images, const graft_tensor *output);

/* ---- grafting ------------------------------------------------------------------------------ */

/**
 * Makes the plan of a graft of such networks, read off the structure: every convolution and linear
 * layer decides for itself, but a linear layer fed by convolution features (through pooling or
 * flattening) takes that convolution's coefficient; biases and batch norms take that of the layer
 * that feeds them, after a sum or a concatenation that of the layer that runs last before it.
 * Its tensors are the network's, in their order; a graft_trainer uses this plan.
 *
 * @param plan receives the plan; end it with graft_plan_destroy.
 */
graft_status graft_network_plan(const graft_network *network, graft_plan **plan);

#ifdef __cplusplus
}
#endif
#endif
