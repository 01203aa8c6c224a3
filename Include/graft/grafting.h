/** @file
 * Grafting K networks of one structure, in place, in the caller's own memory.
 *
 * A graft is one operator with three choices: where from (the source of each network), how much
 * (the share of its own weights that a layer keeps), and when. Every network reads its source's
 * state from before this graft (paper, Algorithm 1). With K = 2 both networks come out equal.
 */
#ifndef GRAFT_GRAFTING_H
#define GRAFT_GRAFTING_H

#include "information.h"
#include "status.h"
#include "tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- the plan: what carries information, and what follows what ---------------------------- */

/** Which tensors of a network are layers, and which follow them. */
typedef struct graft_plan graft_plan;

/** The part that a tensor plays in a graft. The numbers never change. */
typedef enum graft_role {
  /** A layer with information of its own: it decides its own coefficient. */
  GRAFT_ROLE_LAYER = 0,
  /** Takes the coefficient of the layer that feeds it: bias, batch norm, classifier. */
  GRAFT_ROLE_FOLLOWS = 1,
  /** Belongs to no layer: blended half and half (by GRAFT_WEIGHTING_CONSTANT: by the constant). */
  GRAFT_ROLE_HALF = 2,
  /** Left alone: counters, and whatever the caller excludes. */
  GRAFT_ROLE_LEAVE = 3
} graft_role;

/** Why a tensor plays its part. */
typedef enum graft_rule {
  /** An array of three or more dimensions is a convolution. */
  GRAFT_RULE_CONVOLUTION = 0,
  /** A two-dimensional array that stands for itself. */
  GRAFT_RULE_LINEAR = 1,
  /** The first two-dimensional array after a convolution: the classifier follows it. */
  GRAFT_RULE_CLASSIFIER = 2,
  /** One or no dimension: follows the last layer before it. */
  GRAFT_RULE_ORDER = 3,
  /** One or no dimension, and no layer before it. */
  GRAFT_RULE_NO_LAYER = 4,
  /** A counter or another array of integers. */
  GRAFT_RULE_INTEGER = 5,
  /** The caller said so. */
  GRAFT_RULE_GIVEN = 6
} graft_rule;

/** No tensor's index. */
#define GRAFT_NO_TENSOR ((size_t)-1)

/** A tensor's place in a plan. */
typedef struct graft_plan_entry {
  size_t struct_size;
  /** Lives as long as the plan. "" where the tensor had no name. */
  const char *name;
  graft_role role;
  graft_rule rule;
  /** The index of the tensor whose coefficient this one takes; its own for a layer. */
  size_t feeder;
  /** The dimension along which its filters lie. */
  int32_t filter_axis;
  /** As graft_plan_set_scales: GRAFT_NO_TENSOR for none. */
  size_t scale;
  size_t input_scale;
} graft_plan_entry;

/**
 * Makes the plan of a network from its tensors alone, in their order (the order of a state dict):
 * an array of 3 or more dimensions is a convolution; the first of 2 dimensions after a
 * convolution follows it; other 2-dimensional ones stand for themselves; 1 and 0 dimensions
 * follow the last layer before them; integers are left alone. Names decide nothing.
 *
 * @param tensors `count` descriptions, `stride` bytes apart (sizeof(graft_tensor)); data unread.
 * @param plan receives the plan; end it with graft_plan_destroy.
 */
graft_status graft_plan_create(const graft_tensor *tensors, size_t stride, size_t count,
                               graft_plan **plan);

/** Ends a plan. NULL is allowed. */
void graft_plan_destroy(graft_plan *plan);

/** Number of tensors in the plan; 0 for NULL. */
size_t graft_plan_count(const graft_plan *plan);

/** Tells a tensor's place. `entry->struct_size` is set by the caller. */
graft_status graft_plan_get(const graft_plan *plan, size_t index, graft_plan_entry *entry);

/**
 * Changes a tensor's place.
 *
 * @param feeder for GRAFT_ROLE_FOLLOWS the index of a tensor that is a GRAFT_ROLE_LAYER;
 *        otherwise unread. A layer that others follow cannot stop being one
 *        (GRAFT_INVALID_STATE).
 * @param filter_axis 0 or 1.
 */
graft_status graft_plan_set(graft_plan *plan, size_t index, graft_role role, size_t feeder,
                            int32_t filter_axis);

/**
 * Says which batch-norm scales decide a tensor's coefficients under GRAFT_WEIGHTING_FILTER.
 *
 * By order a batch norm is four vectors and then a counter (PyTorch's weight, bias, running mean,
 * running variance, num_batches_tracked); directly after an array of two or more dimensions, or
 * after that and one vector (its bias), its scales are those of that array's filters, of the
 * bias, and of itself. Input channels have none until they are set: order does not tell what feeds
 * what.
 *
 * @param scale index of the tensor of scales, one for each of the tensor's filters along its
 *        filter_axis (for a tensor of one dimension, for each entry); GRAFT_NO_TENSOR for none.
 * @param input_scale index of the scales of its input channels (dimension 1, or 0 where
 *        filter_axis is 1), as many as there are channels before it: with groups those of all
 *        groups, before a flattened linear layer one for each of its equal parts.
 */
graft_status graft_plan_set_scales(graft_plan *plan, size_t index, size_t scale,
                                   size_t input_scale);

/* ---- the operator -------------------------------------------------------------------------- */

/** Where a network's graft comes from. The numbers never change. */
typedef enum graft_source {
  /** Network k receives from network k - 1 (mod K): the paper's ring. */
  GRAFT_SOURCE_RING = 0,
  /** Every network receives the mean of all K, itself among them (population averaging, PAPA):
   * with GRAFT_WEIGHTING_CONSTANT it comes to constant w + (1 - constant) mean. */
  GRAFT_SOURCE_MEAN = 1,
  /** Every network receives the mean of the K - 1 others. */
  GRAFT_SOURCE_OTHERS = 2,
  /**
   * Network k receives from network k - 2^t (mod K), t being `step`, beginning anew at
   * 2^t >= K: the one-peer exponential ring. After ceil(log2 K) grafts each network holds
   * something of every other.
   */
  GRAFT_SOURCE_EXPONENTIAL = 3,
  /** Network k receives from network `sources`[k]; a network may be its own (it stays as it is). */
  GRAFT_SOURCE_GIVEN = 4,
  /**
   * Every network from its own filters (paper, section 3.1): of each layer's filters in order of
   * their l1 norm, the i-th largest is added to the i-th smallest, for every i up to half of them
   * whose i-th smallest is under `threshold` (equal norms: the lower index is the smaller).
   * Nothing else changes: no followers, and no weighting is used. The report names the network
   * itself as its source, with alpha 1.
   */
  GRAFT_SOURCE_INTERNAL = 5,
  /**
   * Noise: N(0, sigma_t), sigma_t = `noise`^t, t being `step`, is added to every filter whose l1
   * norm is under `threshold`; else as GRAFT_SOURCE_INTERNAL. What a weight receives depends on
   * `seed`, `step`, its network, tensor and place alone, and not on threads.
   */
  GRAFT_SOURCE_NOISE = 6
} graft_source;

/** How much of its own weights a layer keeps. The numbers never change. */
typedef enum graft_weighting {
  /** The adaptive coefficient on the entropies of the two layers: the paper. */
  GRAFT_WEIGHTING_ENTROPY = 0,
  /** `constant` for every tensor. 0.5 is plain averaging, 0 hands whole networks on (rotation). */
  GRAFT_WEIGHTING_CONSTANT = 1,
  /**
   * The adaptive coefficient on the sums of the layers' filters' entropies, each filter over its
   * own range (the alternative that the paper names and rejects). Sums are larger than entropies of
   * layers, and so are their differences: c decides how much that counts.
   */
  GRAFT_WEIGHTING_FILTER_ENTROPY = 2,
  /** The adaptive coefficient on the layers' l1 norms, sums of |w| (the paper's "l1 grafting"). */
  GRAFT_WEIGHTING_L1 = 3,
  /**
   * A coefficient for each filter, from batch-norm scales before the graft: alpha_j =
   * |g_j self| / (|g_j self| + |g_j other|), 1/2 where both are 0 (with several givers |g_j other|
   * is their mean by shares), for entry j of the batch norm, filter j and its bias, and input
   * channel j of what comes next, as the plan says (graft_plan_set_scales). A weight with a
   * coefficient by its filter and one by its input channel takes their mean: two networks come out
   * equal so. What has no scales, or has scales found by order that do not fit, is blended half
   * and half; scales that were set and do not fit are GRAFT_SHAPE_MISMATCH. The report's alpha
   * is the mean over the filters.
   */
  GRAFT_WEIGHTING_FILTER = 4
} graft_weighting;

/** One graft. Fill with graft_options_init, then change fields. The defaults are the paper's. */
typedef struct graft_options {
  size_t struct_size;
  /** Where from. Default GRAFT_SOURCE_RING. */
  graft_source source;
  /** How much. Default GRAFT_WEIGHTING_ENTROPY. */
  graft_weighting weighting;
  /** Range of the adaptive coefficient, 0 to 1. Default 0.4; 0 is the plain average. */
  double a;
  /** Steepness of the adaptive coefficient, >= 0. Default 500. */
  double c;
  /** The coefficient of GRAFT_WEIGHTING_CONSTANT, 0 to 1. Default 0.5. */
  double constant;
  /** Bins of the entropy, 1 to 65536. Default 10. */
  int64_t bins;
  /** A filter whose l1 norm is under this is invalid: in the report, and for the sources
   * GRAFT_SOURCE_INTERNAL (the paper's gamma) and GRAFT_SOURCE_NOISE. Default 0.1. */
  double threshold;
  /** 1: bins and rounding of the published code (graft_information_options, graft_coefficient). */
  int32_t compatibility;
  /** 1: fills the report and writes no weight. Default 0. */
  int32_t dry_run;
  /** Threads; 0 (default) takes what OpenMP would. */
  int32_t threads;
  /** When: the first epoch (or step) after which a graft is due, counted from 1. Default 1. */
  int64_t start;
  /** When: every this many, >= 1. Default 1. */
  int64_t every;
  /** When: the last one after which a graft may be due; 0 (default) for no end. */
  int64_t stop;
  /**
   * How many grafts came before this one, >= 0: GRAFT_SOURCE_EXPONENTIAL's t. For
   * GRAFT_SOURCE_NOISE its t, in the paper the epoch. Default 0.
   */
  int64_t step;
  /** GRAFT_SOURCE_GIVEN: the source of each network, each 0 to K - 1. Copied. Default NULL. */
  const int64_t *sources;
  /** Number of `sources`; must be K. Default 0. */
  size_t source_count;
  /**
   * 1: what is 0 in its receiver stays 0, in tensors of two or more dimensions: a pruned network
   * keeps its mask. 0 (default): zeros come back to life.
   */
  int32_t keep_zeros;
  /** GRAFT_SOURCE_NOISE: the a of sigma_t = a^t, 0 < a < 1. Default 0.9. */
  double noise;
  /** GRAFT_SOURCE_NOISE: what numbers are drawn. Default 0. */
  uint64_t seed;
} graft_options;

/** Writes the defaults into the first `size` bytes of *options and sets its struct_size. */
void graft_options_init(graft_options *options, size_t size);

/**
 * Tells whether a graft is due after epoch (or step) `index`, counted from 1:
 * start <= index <= stop and (index - start) divisible by every.
 */
graft_status graft_is_due(const graft_options *options, int64_t index, int32_t *due);

/** What a graft did, layer by layer and network by network. */
typedef struct graft_report graft_report;

/**
 * Grafts K networks, in place.
 *
 * Everything is checked before the first weight changes: on an error no network has changed.
 *
 * Arithmetic: products and sums in float64, in the order of the networks, rounded once to the
 * tensor's type, to nearest, ties to even. So networks that receive the same sum come out equal bit
 * for bit (both, with K = 2), and grafting equal networks changes nothing bit for bit; for float64,
 * whose products are not exact, because elements that are all equal are kept as they are.
 *
 * A pull too small for float16 or bfloat16 (0.99 of its own weights, 0.01 of the mean) rounds to
 * nothing: graft_layer_report.unmoved counts what could not move. Keep float32 weights then, or
 * pull harder and less often.
 *
 * @param plan made from tensors of the same count and ranks; NULL makes one by order.
 * @param networks K pointers, each to `tensor_count` descriptions `stride` bytes apart, the same
 *        shapes and types in the same order for every network; float32, float64, float16 or
 *        bfloat16, which may differ from tensor to tensor (integers are left alone).
 *        Networks may not share memory. Two tensors of one network may be the same memory (tied
 *        weights): they are written once, as the first of them says.
 * @param network_count K, 1 to 64. With K = 1 nothing changes.
 * @param options NULL for the defaults. start, every and stop are not looked at here.
 *        Working memory: a few kilobytes a thread and network, whatever the networks' size, and a
 *        number for each filter; a dry run takes the largest tensor once.
 * @param report receives a report, ended with graft_report_destroy; NULL if not wanted: then the
 *        results are not measured, which saves a fifth of the time or so.
 * @return GRAFT_SHAPE_MISMATCH, for shapes, ranks and types that differ, names the tensor and the
 *         network; GRAFT_NOT_FINITE likewise; GRAFT_UNSUPPORTED for integers that are to be grafted;
 *         GRAFT_INVALID_ARGUMENT for memory that is shared and for an empty layer.
 */
graft_status graft_apply(const graft_plan *plan, const graft_tensor *const *networks,
                         size_t stride, size_t tensor_count, size_t network_count,
                         const graft_options *options, graft_report **report);

/* ---- the report ---------------------------------------------------------------------------- */

/** One layer of one network in one graft. */
typedef struct graft_layer_report {
  size_t struct_size;
  /** The layer's tensor name. Lives as long as the report. */
  const char *name;
  /** The layer's index among the tensors. */
  size_t tensor;
  /** The network that gave; of several, the first. */
  size_t source;
  /** The share of its own weights that the layer kept. */
  double alpha;
  /** Entropy in nats before and after this graft. */
  double entropy_before;
  double entropy_after;
  /** Number of filters, and how many were invalid before and after. */
  size_t filters;
  size_t invalid_before;
  size_t invalid_after;
  /** Mean l1 norm of the layer's filters before and after. */
  double norm_before;
  double norm_after;
  /**
   * Elements of this layer and of the tensors that follow it that could not move: of float16 or
   * bfloat16, different from one that they take from, and yet rounded to what they were.
   * Always 0 for float32 and float64.
   */
  size_t unmoved;
} graft_layer_report;

/** Ends a report. NULL is allowed. */
void graft_report_destroy(graft_report *report);

/** Number of layers in the report; 0 for NULL. */
size_t graft_report_layer_count(const graft_report *report);

/** Number of networks in the report; 0 for NULL. */
size_t graft_report_network_count(const graft_report *report);

/** Tells what happened to one layer of one network. `out->struct_size` is set by the caller. */
graft_status graft_report_layer(const graft_report *report, size_t layer, size_t network,
                                graft_layer_report *out);

#ifdef __cplusplus
}
#endif
#endif
