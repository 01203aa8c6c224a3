/* The blend: what networks come to in a graft, element by element, in place. */
#ifndef GRAFT_BLEND_H
#define GRAFT_BLEND_H

#include "graft_information.h"
#include "graft_weights.h"

/* The most networks that can be mixed. */
#define GK_MIX_NETWORKS 64

/* One result, sum of weight[t] * network source[t], and the networks that receive it. */
typedef struct gk_mix_row {
  int32_t terms, targets;
  const int32_t *source;
  const double *weight;
  const int32_t *target;
  const int32_t *receiver; /* [targets] which network each is, or stands for in a trial */
} gk_mix_row;

/* Where a row's coefficient differs from filter to filter, and from input channel to input channel:
 * the result is alpha own + (1 - alpha) (the sum of the terms), alpha being the mean of those that
 * there are. */
typedef struct gk_scales {
  int32_t own;           /* the network whose part alpha is */
  const double *filter;  /* [filters], or NULL */
  const double *input;   /* or NULL: for element e of filter f that at
                          * f / filters_per_group * group_step + e / run */
  int64_t run, filters_per_group, group_step;
} gk_scales;

/* One tensor of every network. All views have the same filters, length and type (but sums rounded
 * to a half type may have terms of any type but float64); they may differ in strides. Every result
 * of an element is computed before one is written, so `to` may be `from`. */
typedef struct gk_mix {
  int64_t networks, rows;
  const gk_weights *from;   /* [networks] */
  const gk_weights *to;     /* what row->target counts in */
  const gk_mix_row *row; /* [rows] */
  /* What is 0 in its receiver stays it; every row then has one target. */
  int32_t keep_zeros;
  /* [networks], or NULL: of a half type, how many elements differ from one that they take from and
   * yet are rounded to what they were. Added to. */
  int64_t *unmoved;
  const gk_scales *scales; /* [rows], or NULL */
  void *scratch; /* workers x gk_mix_scratch(networks, rows) doubles */
} gk_mix;

/* Doubles of scratch memory that one worker needs. */
int64_t gk_mix_scratch(int64_t networks, int64_t rows);

/* Mixes; `results` ([rows], or NULL) receives what was written, measured. */
void gk_mix_networks(const gk_mix *mix, int threads, gk_measurement *results);

#endif
