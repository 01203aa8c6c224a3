/* Products of operands that were rounded to bfloat16, in pairs: sum + x0 w0 + x1 w1 with both pairs
 * in units of four bytes, the first in the lower half. Sums are float32. Included by tiles_*.c,
 * which say BFLOAT16 1 where the processor multiplies pairs itself (it takes subnormal numbers for
 * zero); elsewhere the halves are widened.
 *
 * Units lie in memory that is declared as floats and are only moved as such. */

typedef uint32_t vw __attribute__((vector_size(4 * LANES)));
typedef uint32_t vwu __attribute__((vector_size(4 * LANES), aligned(2), may_alias));
typedef uint16_t vh __attribute__((vector_size(2 * LANES)));
typedef uint16_t vhu __attribute__((vector_size(2 * LANES), aligned(2), may_alias));
typedef uint32_t __attribute__((may_alias)) unit;

/* A number, or a pair, for all lanes. */
INLINE vf broadcast(const int paired, const float *at) {
  return paired ? (vf)(*(const unit *)at - (vw){0}) : splat(*at);
}

/* sum + x * w, or sum + x0 w0 + x1 w1. */
INLINE vf add(const int paired, vf sum, vf x, vf w) {
  if (!paired) return sum + x * w;
#if BFLOAT16
  return (vf)_mm512_dpbf16_ps((__m512)sum, (__m512bh)x, (__m512bh)w);
#else
  const vw upper = 0xffff0000 - (vw){0};
  sum += (vf)((vw)x << 16) * (vf)((vw)w << 16);
  return sum + (vf)((vw)x & upper) * (vf)((vw)w & upper);
#endif
}

/* Rounds LANES numbers, to nearest even. */
INLINE vh round_lanes(vf x) {
#if BFLOAT16
  return (vh)_mm512_cvtneps_pbh((__m512)x);
#else
  vw bits = (vw)x, even = (bits >> 16) & 1;
  vw rounded = (bits + 0x7fff + even) >> 16, quiet = (bits >> 16) | 0x40;
  vw number = (vw)((bits & 0x7fffffff) <= (0x7f800000 - (vw){0}));
  return __builtin_convertvector((rounded & number) | (quiet & ~number), vh);
#endif
}

/* Rounds pixels of `channels` floats; an odd number of channels gets a zero beside the last. */
static void round_pixels(float *to, const float *from, int64_t pixels, int64_t channels) {
  gk_half *out = (gk_half *)to;
  if (channels % 2 == 0) channels *= pixels, pixels = 1;
  for (int64_t p = 0; p < pixels; ++p, from += channels) {
    int64_t c = 0;
    for (; c + LANES <= channels; c += LANES, out += LANES)
      *(vhu *)out = round_lanes(load(from + c));
    for (; c < channels; ++c) *out++ = gk_bfloat16(from[c]);
    if (channels % 2 != 0) *out++ = 0;
  }
}

/* Pairs the halves of two images, number by number; `second` may be NULL for zeros. count: of
 * numbers, even. */
static void pair_images(float *to, const float *first, const float *second, int64_t count) {
  const gk_half *low = (const gk_half *)first, *high = (const gk_half *)second;
  unit *out = (unit *)to;
  int64_t i = 0;
  for (; i + LANES <= count; i += LANES) {
    vw pair = __builtin_convertvector(*(const vhu *)(low + i), vw);
    if (high != NULL) pair |= __builtin_convertvector(*(const vhu *)(high + i), vw) << 16;
    *(vwu *)(out + i) = pair;
  }
  for (; i < count; ++i) out[i] = low[i] | (high != NULL ? (uint32_t)high[i] << 16 : 0);
}

/* Rounds numbers to bfloat16, one beside the other. */
static void halve(gk_half *to, const float *from, int64_t count) {
  int64_t i = 0;
  for (; i + LANES <= count; i += LANES) *(vhu *)(to + i) = round_lanes(load(from + i));
  for (; i < count; ++i) to[i] = gk_bfloat16(from[i]);
}

/* LANES neighbouring numbers, or one, of floats or of bfloat16. */
INLINE vf load_any(const int halves, const void *from, int64_t at) {
  if (!halves) return load((const float *)from + at);
  return (vf)(__builtin_convertvector(*(const vhu *)((const gk_half *)from + at), vw) << 16);
}
INLINE float number_at(const int halves, const void *from, int64_t at) {
  if (!halves) return ((const float *)from)[at];
  uint32_t bits = (uint32_t)((const gk_half *)from)[at] << 16;
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

/* The sum of a pair. */
INLINE float pair_sum(const float *at) {
  uint32_t bits[2] = {*(const unit *)at << 16, *(const unit *)at & 0xffff0000};
  float halves[2];
  memcpy(halves, bits, sizeof halves);
  return halves[0] + halves[1];
}
