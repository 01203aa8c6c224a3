/* Included once per instruction set by loss_loops.c; no include guard on purpose. Lane i holds
 * every sixteenth element from i on, and lanes are added in one fixed tree: so the registers' width
 * does not show in the results. */

/* Sixteen values from `p` on, or the first `now` of them and `rest` in the other lanes. */
#define LOAD(v, p, now, rest)                        \
  do {                                               \
    (v) = (rest);                                    \
    memcpy(&(v), (p), (size_t)(now) * sizeof(v)[0]); \
  } while (0)

/* Sixteen at a time, then what is left: a copy of a constant size is a load or a store. */
#define SIXTEEN_AT_A_TIME(step) \
  int64_t i = 0;                \
  for (; i + 16 <= n; i += 16) step(16) if (i < n) step(n - i)

static inline __attribute__((always_inline)) double NAME(total)(const d16 *lane) {
  d8 d = lane->lo + lane->hi;
  d4 c = d.lo + d.hi;
  d2 b = c.lo + c.hi;
  return b.x + b.y;
}

/* exp of values <= 0 (Cody and Waite 1980): 2^n exp(r), |r| <= ln 2 / 2, exp(r) by its series,
 * whose next term is 4e-18. */
static inline __attribute__((always_inline)) void NAME(exponential)(d16 *value) {
  const double whole = 6755399441055744.0; /* 1.5 * 2^52: adding it rounds to a whole number */
  d16 x = *value > -746.0 ? *value : (d16)-746.0; /* under which even denormals are 0 */
  d16 shifted = x * 1.4426950408889634 + whole;
  d16 n = shifted - whole;
  d16 r = (x - n * 6.93147180369123816490e-01) - n * 1.90821492927058770002e-10;
  d16 p = 1.0 / 6227020800.0;
  p = p * r + 1.0 / 479001600.0;
  p = p * r + 1.0 / 39916800.0;
  p = p * r + 1.0 / 3628800.0;
  p = p * r + 1.0 / 362880.0;
  p = p * r + 1.0 / 40320.0;
  p = p * r + 1.0 / 5040.0;
  p = p * r + 1.0 / 720.0;
  p = p * r + 1.0 / 120.0;
  p = p * r + 1.0 / 24.0;
  p = p * r + 1.0 / 6.0;
  p = p * r + 0.5;
  p = p * r + 1.0;
  p = p * r + 1.0;
  /* In two steps, so that a denormal result is rounded once. */
  l16 power = (l16)shifted - (l16)(d16)whole, half = power >> 1;
  *value = p * (d16)((half + 1023) << 52) * (d16)((power - half + 1023) << 52);
}

static int NAME(finite)(const float *x, int64_t n) {
  i16 odd = 0;
#define LOOK(now)                             \
  {                                           \
    f16 v;                                    \
    LOAD(v, x + i, now, 0.0f);                \
    odd |= ~(v - v == 0.0f); /* NaN if not */ \
  }
  SIXTEEN_AT_A_TIME(LOOK)
#undef LOOK
  return __builtin_reduce_or(odd) == 0;
}

static void NAME(widen)(const float *x, int64_t n, double *out) {
#define WIDEN(now)                                       \
  {                                                      \
    f16 v;                                               \
    LOAD(v, x + i, now, 0.0f);                           \
    d16 wide = __builtin_convertvector(v, d16);          \
    memcpy(out + i, &wide, (size_t)(now) * sizeof *out); \
  }
  SIXTEEN_AT_A_TIME(WIDEN)
#undef WIDEN
}

static void NAME(narrow)(const double *x, int64_t n, double scale, float *out) {
#define NARROW(now)                                        \
  {                                                        \
    d16 v;                                                 \
    LOAD(v, x + i, now, 0.0);                              \
    f16 narrow = __builtin_convertvector(v * scale, f16);  \
    memcpy(out + i, &narrow, (size_t)(now) * sizeof *out); \
  }
  SIXTEEN_AT_A_TIME(NARROW)
#undef NARROW
}

static double NAME(highest)(const double *x, int64_t n) {
  d16 most = x[0];
#define RAISE(now)              \
  {                             \
    d16 v;                      \
    LOAD(v, x + i, now, x[0]);  \
    most = v > most ? v : most; \
  }
  SIXTEEN_AT_A_TIME(RAISE)
#undef RAISE
  d8 d = most.lo > most.hi ? most.lo : most.hi;
  d4 c = d.lo > d.hi ? d.lo : d.hi;
  d2 b = c.lo > c.hi ? c.lo : c.hi;
  return b.x > b.y ? b.x : b.y;
}

static double NAME(exponentials)(const double *z, int64_t n, double most, double temperature,
                                 double *e) {
  d16 sum = 0.0;
#define RAISE(now)                                                \
  {                                                               \
    d16 v;                                                        \
    LOAD(v, z + i, now, -__builtin_inf()); /* whose power is 0 */ \
    v = (v - most) / temperature;                                 \
    NAME(exponential)(&v);                                        \
    sum += v;                                                     \
    memcpy(e + i, &v, (size_t)(now) * sizeof *e);                 \
  }
  SIXTEEN_AT_A_TIME(RAISE)
#undef RAISE
  return NAME(total)(&sum);
}

static void NAME(add)(double *mean, const double *e, int64_t n, double scale) {
#define ADD(now)                                        \
  {                                                     \
    d16 a, b;                                           \
    LOAD(a, mean + i, now, 0.0);                        \
    LOAD(b, e + i, now, 0.0);                           \
    a += b * scale;                                     \
    memcpy(mean + i, &a, (size_t)(now) * sizeof *mean); \
  }
  SIXTEEN_AT_A_TIME(ADD)
#undef ADD
}

static double NAME(divergence)(double *mean, int64_t n, double scale, const double *t, double top,
                               const double *z, double most, double temperature, double offset) {
  d16 sum = 0.0;
#define DIVERGE(now)                                                  \
  {                                                                   \
    d16 p, a, b;                                                      \
    LOAD(p, mean + i, now, 0.0);                                      \
    LOAD(a, t + i, now, 0.0);                                         \
    LOAD(b, z + i, now, 0.0);                                         \
    p *= scale;                                                       \
    memcpy(mean + i, &p, (size_t)(now) * sizeof *mean);               \
    d16 part = p * (((a - top) - (b - most)) * temperature + offset); \
    sum += p > 0.0 ? part : (d16)0.0;                                 \
  }
  SIXTEEN_AT_A_TIME(DIVERGE)
#undef DIVERGE
  return NAME(total)(&sum);
}

static void NAME(gradient)(double *z, int64_t n, gk_share labels, double each, gk_share student,
                           const double *mean) {
#define DESCEND(now)                                    \
  {                                                     \
    d16 sum = 0.0;                                      \
    if (labels.e != NULL) {                             \
      d16 p;                                            \
      LOAD(p, labels.e + i, now, 0.0);                  \
      sum += (p * labels.scale - each) * labels.weight; \
    }                                                   \
    if (student.e != NULL) {                            \
      d16 p, q;                                         \
      LOAD(p, student.e + i, now, 0.0);                 \
      LOAD(q, mean + i, now, 0.0);                      \
      sum += (p * student.scale - q) * student.weight;  \
    }                                                   \
    memcpy(z + i, &sum, (size_t)(now) * sizeof *z);     \
  }
  SIXTEEN_AT_A_TIME(DESCEND)
#undef DESCEND
}

static const gk_loss_loops NAME(loops) = {
    .finite = NAME(finite),
    .widen = NAME(widen),
    .narrow = NAME(narrow),
    .highest = NAME(highest),
    .exponentials = NAME(exponentials),
    .add = NAME(add),
    .divergence = NAME(divergence),
    .gradient = NAME(gradient),
};

#undef LOAD
#undef SIXTEEN_AT_A_TIME
