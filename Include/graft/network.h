/** @file
 * Networks: built layer by layer (architectures.h has ready-made ones), run forward and backward,
 * saved and loaded.
 *
 * Tensors that cross this boundary have PyTorch's shapes: images N x C x H x W, convolution
 * weights out x in/groups x kh x kw, linear weights out x in. Strides are the caller's choice;
 * inside, images lie as N x H x W x C, so a tensor with those strides is the cheapest.
 */
#ifndef GRAFT_NETWORK_H
#define GRAFT_NETWORK_H

#include "status.h"
#include "tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A network: its layers, weights and running statistics. One thread at a time may use it. */
typedef struct graft_network graft_network;

/* ---- built layer by layer ------------------------------------------------------------------ */

/** A value within a network under construction: the input, or what a layer puts out. */
typedef int32_t graft_value;

/**
 * Starts a network whose input is channels x height x width, each 1 to 65536, together at most 2^28.
 * The input is value 0.
 */
graft_status graft_network_create(int64_t channels, int64_t height, int64_t width,
                                  graft_network **network);

/** Ends a network. NULL is allowed. A trainer that holds the network keeps it alive for itself. */
void graft_network_destroy(graft_network *network);

/** A convolution. Fill with graft_convolution_options_init; height and width may differ. */
typedef struct graft_convolution_options {
  size_t struct_size;
  /** Number of filters (output channels), a multiple of groups. No default. */
  int64_t filters;
  /** Kernel, 1 to 31. Default 3 x 3. */
  int64_t kernel_height, kernel_width;
  /** 1 to 1024. Default 1. */
  int64_t stride_height, stride_width;
  /** Zeros added on both sides, 0 to 1024. Default 0. */
  int64_t padding_height, padding_width;
  /** 1 to 1024. Default 1. */
  int64_t dilation_height, dilation_width;
  /** Divides the input's channels. Default 1; as many as channels is a depthwise convolution. */
  int64_t groups;
  /** 1 adds a bias per filter. Default 0. */
  int32_t bias;
} graft_convolution_options;

/** Writes the defaults into the first `size` bytes of *options and sets its struct_size. */
void graft_convolution_options_init(graft_convolution_options *options, size_t size);

/**
 * Adds a layer. `name` becomes the prefix of its tensors' names ("conv1" gives "conv1.weight")
 * and must be given, unique, of 1 to 512 bytes of UTF-8, and without control characters (C0, DEL,
 * C1). `input` is an earlier value; `output` receives the new one. GRAFT_SHAPE_MISMATCH where the
 * shapes do not fit; GRAFT_INVALID_STATE where the network is finished.
 */
graft_status graft_network_convolution(graft_network *network, const char *name,
                                       graft_value input,
                                       const graft_convolution_options *options,
                                       graft_value *output);

/**
 * Batch norm over the channels: in training the batch's statistics, in evaluation the running
 * ones.
 *
 * @param epsilon above 0, up to 1 (PyTorch: 1e-5).
 * @param momentum of the running statistics, 0 to 1 (PyTorch: 0.1).
 */
graft_status graft_network_batch_norm(graft_network *network, const char *name, graft_value input,
                                      double epsilon, double momentum, graft_value *output);

/** ReLU where negative_slope is 0, else leaky ReLU (0 to 1); has no tensors and so no name. */
graft_status graft_network_relu(graft_network *network, graft_value input, double negative_slope,
                                graft_value *output);

/**
 * min(max(x, 0), ceiling).
 *
 * @param ceiling above 0 (MobileNetV2 on ImageNet: 6), a normal number of float32.
 */
graft_status graft_network_clipped_relu(graft_network *network, graft_value input, double ceiling,
                                        graft_value *output);

/** Sum of two values of the same shape: a residual connection. */
graft_status graft_network_sum(graft_network *network, graft_value a, graft_value b,
                               graft_value *output);

/**
 * The parameterless shortcut (option A): every `stride`-th row and column, the channels padded
 * with zeros to `channels`, half before and half after (the odd one after).
 */
graft_status graft_network_shortcut(graft_network *network, graft_value input, int64_t stride,
                                    int64_t channels, graft_value *output);

/**
 * Values of one height and width next to each other along their channels, in the order given.
 *
 * @param inputs `count` earlier values, 1 to 4096; one may come more than once.
 */
graft_status graft_network_concatenation(graft_network *network, const graft_value *inputs,
                                         size_t count, graft_value *output);

/**
 * Dropout: in training every number becomes 0 with the given probability, else is divided by
 * 1 - probability; in evaluation nothing happens. What is dropped: graft_network_set_dropout.
 *
 * @param probability 0 to 1, 1 excluded.
 */
graft_status graft_network_dropout(graft_network *network, graft_value input, double probability,
                                   graft_value *output);

/** How a pooling layer summarises its window. */
typedef enum graft_pooling { GRAFT_POOLING_MAX = 0, GRAFT_POOLING_AVERAGE = 1 } graft_pooling;

/**
 * Pooling over kernel x kernel windows. Padding is at most kernel / 2; the maximum ignores it,
 * the average counts it as zeros (PyTorch's defaults).
 */
graft_status graft_network_pool(graft_network *network, graft_value input, graft_pooling pooling,
                                int64_t kernel, int64_t stride, int64_t padding,
                                graft_value *output);

/** Mean over height and width: channels x 1 x 1. */
graft_status graft_network_global_pool(graft_network *network, graft_value input,
                                       graft_value *output);

/** A linear layer over all of its input, flattened as PyTorch does (channel, row, column). */
graft_status graft_network_linear(graft_network *network, const char *name, graft_value input,
                                  int64_t features, int32_t bias, graft_value *output);

/**
 * Ends the construction: `output` is what the network computes. Initial weights are drawn from
 * `seed` (convolutions He normal, fan out; linear layers uniform in +-1/sqrt(in); batch norm 1
 * and 0). After this no layer can be added (GRAFT_INVALID_STATE).
 */
graft_status graft_network_finish(graft_network *network, graft_value output, uint64_t seed);

/* ---- weights ------------------------------------------------------------------------------- */

/** Number of tensors, in the order of PyTorch's state_dict, buffers included. 0 for NULL. */
size_t graft_network_tensor_count(const graft_network *network);

/**
 * Describes a tensor in place: reading and writing through it reads and writes the network. The
 * description is valid until the network is destroyed. `tensor->struct_size` is set by the caller.
 */
graft_status graft_network_tensor(graft_network *network, size_t index, graft_tensor *tensor);

/**
 * Describes the gradient of a tensor, as the last graft_network_backward left it.
 * GRAFT_INVALID_ARGUMENT for a buffer (running statistics), which has none;
 * GRAFT_INVALID_STATE before the first backward pass.
 */
graft_status graft_network_gradient(graft_network *network, size_t index, graft_tensor *tensor);

/**
 * Copies all weights and running statistics from a network of the same structure, else
 * GRAFT_SHAPE_MISMATCH. Both are finished.
 */
graft_status graft_network_copy(graft_network *network, const graft_network *from);

/**
 * Writes a .safetensors file that is the network's PyTorch state_dict. Written beside, renamed.
 *
 * @param path of a file, which may exist; GRAFT_INVALID_ARGUMENT where it names none (a directory).
 * @return GRAFT_IO where it cannot be written.
 */
graft_status graft_network_save(const graft_network *network, const char *path);

/**
 * Reads weights from a .safetensors file. Names and shapes must be the network's own, all of
 * them (num_batches_tracked may be missing). On an error the network has not changed.
 *
 * @return GRAFT_IO where the file cannot be read; GRAFT_FORMAT where it is cut short, corrupt or of
 *         another kind; GRAFT_SHAPE_MISMATCH where it is another network's.
 */
graft_status graft_network_load(graft_network *network, const char *path);

/* ---- running ------------------------------------------------------------------------------- */

/** Sets how many threads this network's passes use; 0 (default) takes what OpenMP would. */
graft_status graft_network_set_threads(graft_network *network, int32_t threads);

/** What training multiplies in; the weights themselves are float32 either way. */
typedef enum graft_precision {
  GRAFT_PRECISION_FLOAT32 = 0,
  /** Convolutions round the numbers that they multiply, forward and backward, to bfloat16 (8
   * significant bits, float32's range; to nearest, ties to even) and add the products up in
   * float32. Everything else is float32: the weights that are updated, batch norm, losses, linear
   * layers, and convolutions that would gain nothing (depthwise ones, groups with fewer than 16
   * channels or filters, kernels larger than 1 x 1 that put out at most 16 pixels).
   *
   * What a convolution that rounds, or a depthwise one, puts out for batch norms alone is kept
   * rounded, too, in half of the memory, unless a pool reads through those; the norms' statistics
   * are of the numbers before.
   *
   * Faster where the processor multiplies bfloat16 itself (AVX-512 BF16: AMD from Zen 4 on, Intel
   * from Cooper Lake on; graft_instructions gives "avx512bf16"); elsewhere the same numbers are
   * widened, which is slower than float32. */
  GRAFT_PRECISION_BFLOAT16 = 1
} graft_precision;

/**
 * Sets what the next training passes multiply in; a backward pass does as its forward pass did.
 * Default GRAFT_PRECISION_FLOAT32. Evaluation, and a graft_predictor, are float32 always. (A
 * graft_trainer sets it itself, from its options.)
 */
graft_status graft_network_set_precision(graft_network *network, graft_precision precision);

/**
 * Says what the next training pass's dropouts draw from; every training pass then counts `step` up.
 * A network starts with its construction's seed at step 0. Setting both makes a pass repeatable: a
 * run that is resumed at step n sets n. (A graft_trainer sets them itself, from the network's seed
 * there and the number of the batch.)
 *
 * What is dropped is a function of seed, step, the dropout's place among the network's (in the
 * order in which they were added), the image's in the batch, and the number's in the image (row,
 * column, channel).
 */
graft_status graft_network_set_dropout(graft_network *network, uint64_t seed, uint64_t step);

/** Which statistics batch norm uses, and whether dropout drops. */
typedef enum graft_mode { GRAFT_EVALUATION = 0, GRAFT_TRAINING = 1 } graft_mode;

/** Shape of the network's output for one image: channels, height, width (features, 1, 1). */
graft_status graft_network_output_shape(const graft_network *network, int64_t shape[3]);

/**
 * Runs the network. In GRAFT_TRAINING batch norm uses the batch's statistics, updates the running
 * ones, and what the backward pass needs is kept until the next forward pass (one that is refused
 * for its arguments leaves it).
 *
 * @param images N x C x H x W, GRAFT_FLOAT32, N from 1 to 65536.
 * @param output N x C x H x W or, where the output has height and width 1, N x C.
 */
graft_status graft_network_forward(graft_network *network, graft_mode mode,
                                   const graft_tensor *images, const graft_tensor *output);

/**
 * Runs the network in evaluation with every batch norm that alone follows a convolution folded into
 * its weights: the same numbers as graft_network_forward but for rounding, in less time. The
 * weights are read at every call.
 */
graft_status graft_network_infer(graft_network *network, const graft_tensor *images,
                                 const graft_tensor *output);

/**
 * Runs the network backward after a forward pass in GRAFT_TRAINING, once for each. The gradients
 * replace those of the last time.
 *
 * @param output_gradient d loss / d output, of the output's shape.
 * @param input_gradient receives d loss / d images; NULL if not wanted.
 */
graft_status graft_network_backward(graft_network *network, const graft_tensor *output_gradient,
                                    const graft_tensor *input_gradient);

/* ---- optimiser ----------------------------------------------------------------------------- */

/** Stochastic gradient descent with momentum, as torch.optim.SGD computes it. */
typedef struct graft_sgd graft_sgd;

/** Fill with graft_sgd_options_init, then change fields. */
typedef struct graft_sgd_options {
  size_t struct_size;
  /** >= 0, finite in float32. Default 0.1. */
  double learning_rate;
  /** 0 to 1, 1 excluded. Default 0.9. */
  double momentum;
  /** Added to every parameter's gradient as weight_decay * w, >= 0, finite in float32.
   * Default 5e-4. */
  double weight_decay;
  /** 1 for Nesterov momentum. Default 0. */
  int32_t nesterov;
  /** 1 spares batch norms and biases the decay: only weights of convolutions and linear layers
   * shrink. Default 0: all parameters do. */
  int32_t decay_weights_only;
  /** Where the l2 norm of all gradients together is longer than this, the step takes them scaled to
   * it, as torch.nn.utils.clip_grad_norm_ does (graft_network_gradient shows them unscaled). 0
   * (default) neither measures nor clips, INFINITY measures only. */
  double clip_norm;
} graft_sgd_options;

/** Writes the defaults into the first `size` bytes of *options and sets its struct_size. */
void graft_sgd_options_init(graft_sgd_options *options, size_t size);

/** Makes an optimiser for a network. It holds the network until graft_sgd_destroy. */
graft_status graft_sgd_create(graft_network *network, const graft_sgd_options *options,
                              graft_sgd **optimiser);

/** Ends an optimiser. NULL is allowed. */
void graft_sgd_destroy(graft_sgd *optimiser);

/** Changes the learning rate: >= 0, finite in float32. */
graft_status graft_sgd_set_learning_rate(graft_sgd *optimiser, double learning_rate);

/**
 * One step with the gradients of the last backward pass.
 *
 * @return GRAFT_NOT_FINITE where clip_norm is set and the gradients' norm is not finite; nothing
 *         has changed then.
 */
graft_status graft_sgd_step(graft_sgd *optimiser);

/**
 * Gives the l2 norm of all gradients together in the last step, before clipping.
 *
 * @return GRAFT_INVALID_STATE where clip_norm is 0 or no step has been made.
 */
graft_status graft_sgd_gradient_norm(const graft_sgd *optimiser, double *norm);

/** Describes the momentum buffer of tensor `index` in place; GRAFT_INVALID_ARGUMENT for buffers. */
graft_status graft_sgd_momentum(graft_sgd *optimiser, size_t index, graft_tensor *tensor);

#ifdef __cplusplus
}
#endif
#endif
