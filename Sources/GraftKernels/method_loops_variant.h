/* Included once per instruction set by method_loops.c; no include guard on purpose. Lane i holds
 * every sixteenth element from i on, and lanes are added in one fixed tree: so the registers'
 * width does not show in the results. */

/* Unaligned loads and stores of sixteen values. */
#define LOAD(p) ({ f16 v_; memcpy(&v_, (p), sizeof v_); v_; })
#define STORE(p, v) ({ f16 v_ = (v); memcpy((p), &v_, sizeof v_); })

#define LOWER(a, b) ((a) < (b) ? (a) : (b))
#define HIGHER(a, b) ((a) > (b) ? (a) : (b))

static void NAME(measure)(const float *x, int64_t n, float *low, float *high, double *sum) {
  f16 lowest = x[0], highest = x[0];
  d16 total = 0.0;
  for (; n >= 16; n -= 16, x += 16) {
    f16 v = LOAD(x);
    lowest = LOWER(v, lowest);
    highest = HIGHER(v, highest);
    total += __builtin_convertvector(__builtin_elementwise_abs(v), d16);
  }
  if (n > 0) {
    f16 v = 0.0f;
    memcpy(&v, x, (size_t)n * sizeof *x);
    total += __builtin_convertvector(__builtin_elementwise_abs(v), d16);
    v = x[0];
    memcpy(&v, x, (size_t)n * sizeof *x);
    lowest = LOWER(v, lowest);
    highest = HIGHER(v, highest);
  }
  /* Filters can be short: their lanes meet in halves, not one by one. */
  f8 l8 = LOWER(lowest.lo, lowest.hi), h8 = HIGHER(highest.lo, highest.hi);
  f4 l4 = LOWER(l8.lo, l8.hi), h4 = HIGHER(h8.lo, h8.hi);
  f2 l2 = LOWER(l4.lo, l4.hi), h2 = HIGHER(h4.lo, h4.hi);
  *low = LOWER(l2.x, l2.y);
  *high = HIGHER(h2.x, h2.y);
  d8 s8 = total.lo + total.hi;
  d4 s4 = s8.lo + s8.hi;
  d2 s2 = s4.lo + s4.hi;
  *sum = s2.x + s2.y;
}

static void NAME(count)(const float *x, int64_t n, const float *threshold, int64_t thresholds,
                        int64_t *at_least) {
  /* 32-bit counters: enough for 2^31 values a lane, and callers come with GK_PIECE. */
  while (n > 0) {
    float rest[128];
    const float *block = x;
    int64_t now = n < 128 ? n : 128;
    if (now < 128) { /* -inf is under every threshold */
      for (int64_t i = 0; i < 128; ++i) rest[i] = i < now ? x[i] : -__builtin_inff();
      block = rest;
    }
    f16 v0 = LOAD(block), v1 = LOAD(block + 16), v2 = LOAD(block + 32), v3 = LOAD(block + 48);
    f16 v4 = LOAD(block + 64), v5 = LOAD(block + 80), v6 = LOAD(block + 96);
    f16 v7 = LOAD(block + 112);
    for (int64_t t = 0; t < thresholds; ++t) {
      f16 edge = threshold[t];
      i16 sum = (((v0 >= edge) + (v1 >= edge)) + ((v2 >= edge) + (v3 >= edge))) +
                (((v4 >= edge) + (v5 >= edge)) + ((v6 >= edge) + (v7 >= edge)));
      at_least[t] -= __builtin_reduce_add(sum);
    }
    x += now;
    n -= now;
  }
}

/* Sixteen values as whole numbers of 1/GK_STEPS of a bin. */
#define STEPS(p) ((u16)__builtin_convertvector((LOAD(p) - low) * scale, i16))

/* The bins of 64 values as bytes, in no particular order; 255 everywhere where one lies so near an
 * edge that float32 could take it for its neighbour's. */
static inline __attribute__((always_inline)) void NAME(bins_of_64)(const float *x, float low,
                                                                   float scale, b64 *bins) {
  /* Two 16-bit numbers in every 32 bits. */
  h32 a = (h32)(STEPS(x) | (STEPS(x + 16) << 16)), b = (h32)(STEPS(x + 32) | (STEPS(x + 48) << 16));
  h32 doubt_a = (a + 1) & (h32)(GK_STEPS - 2), doubt_b = (b + 1) & (h32)(GK_STEPS - 2);
  h32 doubtful = (h32)(__builtin_elementwise_min(doubt_a, doubt_b) == (h32)0);
  *bins = __builtin_reduce_or(doubtful) ? (b64)255 : (b64)((a / GK_STEPS) | (b / GK_STEPS << 8));
}

static void NAME(sort)(const float *x, int64_t n, float low, float scale, const float *threshold,
                       int64_t thresholds, int64_t *at_least) {
  b64 counter[GK_SORTED_BINS];
  for (int64_t t = 0; t < thresholds; ++t) counter[t] = 0;
  int64_t sorted = 0;
  /* A byte counts to 255: 63 groups of four. */
  for (int64_t groups = 0; n >= 256 && groups < 63; ++groups, n -= 256, x += 256) {
    b64 bins[4];
    for (int part = 0; part < 4; ++part) {
      NAME(bins_of_64)(x + 64 * part, low, scale, &bins[part]);
      if (bins[part][0] == 255)
        NAME(count)(x + 64 * part, 64, threshold, thresholds, at_least);
      else
        sorted += 64;
    }
    b64 b0 = bins[0], b1 = bins[1], b2 = bins[2], b3 = bins[3];
    for (int64_t t = 0; t < thresholds; ++t) {
      b64 bin = (b64)(uint8_t)t;
      counter[t] -= (b64)((b0 == bin) + (b1 == bin)) + (b64)((b2 == bin) + (b3 == bin));
    }
  }
  /* What lies in no lower bin reaches the threshold. */
  for (int64_t t = 0; t < thresholds; ++t) {
    s64 wide = __builtin_convertvector(counter[t], s64);
    sorted -= __builtin_reduce_add(wide);
    at_least[t] += sorted;
  }
  if (n > 0) NAME(count)(x, n, threshold, thresholds, at_least);
}

static void NAME(bin)(const float *x, int64_t n, double low, double high, double step,
                      int64_t bins, int32_t *index) {
  double scale = (double)bins / (high - low);
  d16 last = (double)(bins - 1);
  for (; n > 0; n -= 16, x += 16, index += 16) {
    int64_t now = n < 16 ? n : 16;
    f16 f = x[0];
    memcpy(&f, x, (size_t)now * sizeof *x);
    d16 v = __builtin_convertvector(f, d16);
    /* A guess, at most one off, settled by the edges themselves. */
    d16 guess = __builtin_elementwise_trunc((v - low) * scale);
    guess = guess > last ? last : guess;
    d16 lower = guess * step + low, upper = (guess + 1.0) * step + low;
    l16 under = v < lower, over = (v >= upper) & (guess != last);
    guess += __builtin_convertvector(under, d16) - __builtin_convertvector(over, d16);
    i16 found = __builtin_convertvector(guess, i16);
    memcpy(index, &found, (size_t)now * sizeof *index);
  }
}

static inline __attribute__((always_inline)) void NAME(sum_of_16)(
    const float *const *x, int64_t i, int64_t now, int64_t terms, const double *weight, d16 *sum) {
  for (int64_t t = 0; t < terms; ++t) {
    f16 v = 0.0f;
    memcpy(&v, x[t] + i, (size_t)now * sizeof **x);
    d16 product = __builtin_convertvector(v, d16) * weight[t];
    *sum = t == 0 ? product : *sum + product;
  }
}

static void NAME(combine)(float *out, int64_t n, int64_t terms, const float *const *x,
                          const double *weight) {
  if (terms == 2) { /* the paper's */
    const float *a = x[0], *b = x[1];
    double wa = weight[0], wb = weight[1];
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
      d16 sum = __builtin_convertvector(LOAD(a + i), d16) * wa +
                __builtin_convertvector(LOAD(b + i), d16) * wb;
      STORE(out + i, __builtin_convertvector(sum, f16));
    }
    for (; i < n; ++i) out[i] = (float)((double)a[i] * wa + (double)b[i] * wb);
    return;
  }
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    d16 sum;
    NAME(sum_of_16)(x, i, 16, terms, weight, &sum);
    STORE(out + i, __builtin_convertvector(sum, f16));
  }
  if (i < n) {
    d16 sum;
    NAME(sum_of_16)(x, i, n - i, terms, weight, &sum);
    f16 rounded = __builtin_convertvector(sum, f16);
    memcpy(out + i, &rounded, (size_t)(n - i) * sizeof *out);
  }
}

/* ---- the half types -------------------------------------------------------------------------- */

/* Rounds to a half type what is then a float32 too. */
static inline __attribute__((always_inline)) void NAME(to_half)(int32_t type, const d16 *exact,
                                                                f16 *rounded) {
  d16 sum = *exact;
  /* First to float32, where what is inexact goes to the neighbour with an odd last bit: rounding
   * that once more gives what rounding once would. */
  f16 nearest = __builtin_convertvector(sum, f16);
  d16 back = __builtin_convertvector(nearest, d16);
  i16 away = __builtin_convertvector(__builtin_elementwise_abs(back) >
                                     __builtin_elementwise_abs(sum), i16);
  i16 inexact = __builtin_convertvector(back != sum, i16);
  u16 bits = (u16)(((i16)nearest + away) | (inexact & 1));
  if (type == GK_BFLOAT16) {
    bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000u;
    *rounded = (f16)bits;
    return;
  }
  u16 sign = bits & 0x80000000u, size = bits ^ sign;
  u16 normal = (size + 0xFFF + ((size >> 13) & 1)) & 0xFFFFE000u;
  /* Under 2^-14 float16 counts in steps of 2^-24, as float32 does next to 1/2. */
  u16 small = (u16)(((f16)size + 0.5f) - 0.5f);
  u16 is_small = (u16)(size < 0x38800000u);
  *rounded = (f16)(sign | (is_small & small) | (~is_small & normal));
}

/* Sixteen values, or the last `now`: a copy of a constant size is a load or a store. */
#define SIXTEEN_AT_A_TIME(step)        \
  int64_t i = 0;                       \
  for (; i + 16 <= n; i += 16) step(16) \
  if (i < n) step(n - i)

static void NAME(combine_half)(int32_t type, float *out, int64_t n, int64_t terms,
                               const float *const *x, const double *weight) {
#define COMBINE(now)                                        \
  {                                                         \
    d16 sum;                                                \
    f16 rounded;                                            \
    NAME(sum_of_16)(x, i, now, terms, weight, &sum);        \
    NAME(to_half)(type, &sum, &rounded);                    \
    memcpy(out + i, &rounded, (size_t)(now) * sizeof *out); \
  }
  SIXTEEN_AT_A_TIME(COMBINE)
#undef COMBINE
}

static void NAME(round_half)(int32_t type, const double *sum, int64_t n, float *out) {
#define ROUND(now)                                          \
  {                                                         \
    d16 v = 0.0;                                            \
    f16 rounded;                                            \
    memcpy(&v, sum + i, (size_t)(now) * sizeof *sum);       \
    NAME(to_half)(type, &v, &rounded);                      \
    memcpy(out + i, &rounded, (size_t)(now) * sizeof *out); \
  }
  SIXTEEN_AT_A_TIME(ROUND)
#undef ROUND
}

static int64_t NAME(unmoved)(const float *result, const float *before, int64_t n, int64_t terms,
                             const float *const *x) {
  i16 counts = 0; /* a lane's fall by 1 at a time */
  int64_t i = 0, found = 0;
  for (; i + 16 <= n; i += 16) {
    f16 was = LOAD(before + i);
    i16 differs = 0;
    for (int64_t t = 0; t < terms; ++t)
      if (x[t] != before) differs |= LOAD(x[t] + i) != was;
    counts += differs & (LOAD(result + i) == was);
  }
  for (; i < n; ++i) {
    int differs = 0;
    for (int64_t t = 0; t < terms; ++t) differs |= x[t][i] != before[i];
    found += differs & (result[i] == before[i]);
  }
  return found - __builtin_reduce_add(counts);
}

static inline __attribute__((always_inline)) void NAME(widen_16)(int32_t type, const h16 *half,
                                                                 f16 *wide) {
  u16 bits = __builtin_convertvector(*half, u16);
  *wide = (f16)(bits << 16);
  if (type == GK_FLOAT16) {
    u16 size = bits & 0x7FFF, sign = (bits & 0x8000) << 16;
    u16 scaled = (u16)((f16)(size << 13) * 0x1p112f); /* exact, for its denormals too */
    scaled |= (u16)(size >= 0x7C00u) & 0x7F800000u;
    *wide = (f16)(scaled | sign);
  }
}

static void NAME(widen)(int32_t type, const uint16_t *x, int64_t n, float *out) {
#define WIDEN(now)                                       \
  {                                                      \
    h16 half = 0;                                        \
    f16 wide;                                            \
    memcpy(&half, x + i, (size_t)(now) * sizeof *x);     \
    NAME(widen_16)(type, &half, &wide);                  \
    memcpy(out + i, &wide, (size_t)(now) * sizeof *out); \
  }
  SIXTEEN_AT_A_TIME(WIDEN)
#undef WIDEN
}

static inline __attribute__((always_inline)) void NAME(narrow_16)(int32_t type, const u16 *bits,
                                                                  h16 *narrow) {
  u16 half = *bits >> 16;
  if (type == GK_FLOAT16) {
    u16 size = *bits & 0x7FFFFFFF;
    u16 normal = (size - 0x38000000u) >> 13, is_small = (u16)(size < 0x38800000u);
    u16 small = __builtin_convertvector((f16)(size & is_small) * 0x1p24f, u16);
    half = (half & 0x8000) | (is_small & small) | (~is_small & normal);
  }
  *narrow = __builtin_convertvector(half, h16);
}

static void NAME(narrow)(int32_t type, const float *x, int64_t n, uint16_t *out) {
#define NARROW(now)                                        \
  {                                                        \
    u16 bits = 0;                                          \
    h16 narrow;                                            \
    memcpy(&bits, x + i, (size_t)(now) * sizeof *x);       \
    NAME(narrow_16)(type, &bits, &narrow);                 \
    memcpy(out + i, &narrow, (size_t)(now) * sizeof *out); \
  }
  SIXTEEN_AT_A_TIME(NARROW)
#undef NARROW
}

static const gk_method_loops NAME(loops) = {
    .measure = NAME(measure),
    .count = NAME(count),
    .sort = NAME(sort),
    .bin = NAME(bin),
    .combine = NAME(combine),
    .combine_half = NAME(combine_half),
    .round_half = NAME(round_half),
    .unmoved = NAME(unmoved),
    .widen = NAME(widen),
    .narrow = NAME(narrow),
};

#undef LOAD
#undef STORE
#undef STEPS
#undef SIXTEEN_AT_A_TIME
#undef LOWER
#undef HIGHER
