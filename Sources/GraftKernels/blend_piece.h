/* Included once per type of values by blend.c; no include guard on purpose. */

/* What is 0 before stays it. */
static GK_APART void TYPED(keep_zeros)(VALUE *result, const VALUE *before, int64_t count) {
  for (int64_t i = 0; i < count; ++i) result[i] = before[i] == 0 ? before[i] : result[i];
}

/* A row whose coefficient differs within a filter. Elements that are all equal are kept. */
static GK_APART void TYPED(combine_scaled)(const gk_scales *scales, int64_t filter, int64_t at,
                                           int64_t count, const VALUE *own, int32_t terms,
                                           const VALUE *const *x, const double *weight,
                                           double *sum) {
  for (int64_t i = 0; i < count;) {
    int64_t left = count - i;
    double alpha = coefficient(scales, filter, at + i, &left);
    int64_t end = left < count - i ? i + left : count;
    for (; i < end; ++i) {
      double others = 0;
      int same = 1;
      for (int32_t t = 0; t < terms; ++t) {
        others += (double)x[t][i] * weight[t];
        same &= x[t][i] == own[i];
      }
      sum[i] = same ? (double)own[i] : alpha * (double)own[i] + (1 - alpha) * others;
    }
  }
}

/* `count` elements of a filter: all results, then all writes. Result r lies at result[r] after. */
static void TYPED(mix_piece)(const gk_mix *mix, int64_t filter, int64_t at, int64_t count,
                             VALUE *scratch, const void **result) {
  VALUE *gathered = scratch + mix->rows * GK_PIECE;
  int32_t type = mix->to[0].type;
  int is_half = type == GK_FLOAT16 || type == GK_BFLOAT16;
  for (int64_t r = 0; r < mix->rows; ++r) {
    const gk_mix_row *row = &mix->row[r];
    const VALUE *terms[GK_MIX_NETWORKS];
    for (int32_t t = 0; t < row->terms; ++t) {
      int32_t source = row->source[t];
      terms[t] = TYPED(gk_gather)(&mix->from[source], filter, at, count,
                                  gathered + source * GK_PIECE);
    }
    /* A single result can go where it belongs at once: nobody reads these elements any more. */
    VALUE *out = NULL;
    if (mix->rows == 1 && !is_half && !mix->keep_zeros)
      out = gk_in_a_row(&mix->to[row->target[0]], filter, at);
    if (out == NULL) out = scratch + r * GK_PIECE;
    if (mix->scales != NULL) {
      const gk_scales *scales = &mix->scales[r];
      const VALUE *own = TYPED(gk_gather)(&mix->from[scales->own], filter, at, count,
                                          gathered + scales->own * GK_PIECE);
      double sum[GK_PIECE];
      TYPED(combine_scaled)(scales, filter, at, count, own, row->terms, terms, row->weight, sum);
      TYPED(round)(type, sum, count, out);
    } else if (row->terms == 1 && row->weight[0] == 1) {
      if (out != terms[0]) memcpy(out, terms[0], (size_t)count * sizeof *out);
    } else {
      TYPED(combine)(type, out, count, row->terms, terms, row->weight);
    }
    for (int32_t t = 0; (is_half || mix->keep_zeros) && t < row->targets; ++t) {
      int32_t receiver = row->receiver[t];
      const VALUE *before = TYPED(gk_gather)(&mix->from[receiver], filter, at, count,
                                             gathered + receiver * GK_PIECE);
      if (mix->keep_zeros) TYPED(keep_zeros)(out, before, count);
      if (is_half && mix->unmoved != NULL)
        __atomic_fetch_add(&mix->unmoved[receiver],
                           TYPED(unmoved)(out, before, count, row->terms, terms),
                           __ATOMIC_RELAXED);
    }
    result[r] = out;
  }
  for (int64_t r = 0; r < mix->rows; ++r)
    for (int32_t t = 0; t < mix->row[r].targets; ++t)
      TYPED(gk_scatter)(&mix->to[mix->row[r].target[t]], filter, at, count, result[r]);
}
