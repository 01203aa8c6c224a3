/** @file
 * How much information a layer or a filter carries, and what follows from it: entropy, l1 norm,
 * the adaptive coefficient, and the blend. "Filter Grafting for Deep Neural Networks",
 * arXiv 2004.12311, section 3.
 *
 * A weight tensor's filters lie along its dimension 0 (a convolution is out x in x kh x kw, a
 * linear layer out x in), or along `filter_axis` of the options (1 for transposed convolutions).
 * These functions take float32, float64, float16 and bfloat16 weights of any strides.
 */
#ifndef GRAFT_INFORMATION_H
#define GRAFT_INFORMATION_H

#include "status.h"
#include "tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/** How information is measured. Fill with graft_information_options_init, then change fields. */
typedef struct graft_information_options {
  size_t struct_size;
  /** Number of equal bins over [min, max]: 1 to 65536. Default 10. */
  int64_t bins;
  /**
   * 0 (default): the bins of numpy.histogram on the weights as float64, the last one closed.
   * 1: as the authors' published code does it: bin edges in float32 (float64 for float64
   * weights), the maximum left out of the last bin.
   */
  int32_t compatibility;
  /** The dimension along which filters lie, 0 (default) or 1. */
  int32_t filter_axis;
  /** Threads to use; 0 (default) takes what OpenMP would. Results are the same at any count. */
  int32_t threads;
} graft_information_options;

/** Writes the defaults into the first `size` bytes of *options and sets its struct_size. */
void graft_information_options_init(graft_information_options *options, size_t size);

/**
 * Entropy of a layer's weights: H = -sum p_b ln p_b over the bins, in nats (paper, section 3.2).
 * A constant tensor has 0.
 *
 * @param weights at least one element, all finite.
 * @param options NULL for the defaults.
 * @param entropy receives H, 0 <= H <= ln(bins). (In compatibility mode the shares need not add up
 *        to 1, and with one or two bins H can be a little more.)
 * @return GRAFT_NOT_FINITE where a weight is NaN or infinite; GRAFT_INVALID_ARGUMENT for NULL, an
 *         empty tensor or a bad option; GRAFT_UNSUPPORTED for integers.
 */
graft_status graft_entropy(const graft_tensor *weights, const graft_information_options *options,
                           double *entropy);

/**
 * Entropy of every filter by itself, each over its own range.
 *
 * @param entropies receives `count` values.
 * @param count must be the number of filters, shape[filter_axis]; else GRAFT_SHAPE_MISMATCH.
 */
graft_status graft_filter_entropies(const graft_tensor *weights,
                                    const graft_information_options *options, double *entropies,
                                    size_t count);

/**
 * How many weights fall in each bin: the counts behind graft_entropy.
 *
 * @param counts receives `count` values; `count` must equal options->bins (10 by default), else
 *        GRAFT_SHAPE_MISMATCH.
 */
graft_status graft_histogram(const graft_tensor *weights, const graft_information_options *options,
                             int64_t *counts, size_t count);

/**
 * The l1 norm of every filter: the sum of |w| over the filter, accumulated in float64.
 *
 * @param norms receives `count` values; `count` must be the number of filters, else
 *        GRAFT_SHAPE_MISMATCH.
 */
graft_status graft_filter_norms(const graft_tensor *weights,
                                const graft_information_options *options, double *norms,
                                size_t count);

/**
 * Marks the invalid filters: those whose l1 norm is under `threshold` (paper: 0.1 and 1).
 *
 * @param threshold >= 0 and finite.
 * @param mask receives `count` bytes, 1 for invalid; `count` must be the number of filters, else
 *        GRAFT_SHAPE_MISMATCH.
 */
graft_status graft_invalid_filters(const graft_tensor *weights, double threshold,
                                   const graft_information_options *options, uint8_t *mask,
                                   size_t count);

/**
 * The adaptive coefficient: alpha = (a / pi) arctan(c (h_self - h_other)) + 1/2, the share of its
 * own weights that a layer keeps. The paper's equation lacks the 1 / pi that its own bounds need;
 * this is the published code's.
 *
 * alpha is rounded once to float32 on the side >= 1/2, the other side being its exact complement,
 * so that alpha(h, g) + alpha(g, h) is 1 without a rounding.
 *
 * @param h_self information of the receiving layer, finite.
 * @param h_other information of the giving layer, finite.
 * @param a range of the coefficient, 0 <= a <= 1 (paper: 0.4; 0 is the plain average).
 * @param c steepness, 0 <= c, finite (paper: 500; the grafting+ script: 10).
 * @param compatibility 1 rounds alpha to two decimals as the published code does, 0 does not.
 */
graft_status graft_coefficient(double h_self, double h_other, double a, double c,
                               int32_t compatibility, double *alpha);

/**
 * Blends two tensors: self <- alpha self + (1 - alpha) other, in place. Products and sum in
 * float64, rounded once to their type: blending equal tensors changes nothing, bit for bit.
 *
 * @param self of floating point (GRAFT_UNSUPPORTED), not empty, all finite (GRAFT_NOT_FINITE).
 * @param other same shape and type (GRAFT_SHAPE_MISMATCH), all finite; may not overlap with `self` unless identical.
 * @param alpha 0 <= alpha <= 1; rounded to float32 as graft_coefficient does.
 * @param threads 0 takes what OpenMP would.
 */
graft_status graft_blend(const graft_tensor *self, const graft_tensor *other, double alpha,
                         int32_t threads);

#ifdef __cplusplus
}
#endif
#endif
