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
} gk_mix_row;

/* One tensor of every network. All views have the same filters and length; they may differ in
 * strides. Every result of an element is computed before one is written, so `to` may be `from`. */
typedef struct gk_mix {
  int64_t networks, rows;
  const gk_weights *from;   /* [networks] */
  const gk_weights *to;     /* what row->target counts in */
  const gk_mix_row *row; /* [rows] */
  float *scratch;        /* workers x gk_mix_scratch(networks, rows) */
} gk_mix;

/* Values of scratch memory that one worker needs. */
int64_t gk_mix_scratch(int64_t networks, int64_t rows);

/* Mixes; `results` ([rows], or NULL) receives what was written, measured. */
void gk_mix_networks(const gk_mix *mix, int threads, gk_measurement *results);

#endif
