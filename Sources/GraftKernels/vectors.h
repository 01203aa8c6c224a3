/* Vectors of LANES floats in the compiler's own extension. Included by tiles_*.c before the loops.
 */

typedef float vf __attribute__((vector_size(4 * LANES)));
typedef float vfu __attribute__((vector_size(4 * LANES), aligned(4)));
typedef int32_t vi __attribute__((vector_size(4 * LANES)));

#define INLINE static inline __attribute__((always_inline))

INLINE vf load(const float *p) { return *(const vfu *)p; }
INLINE void store(float *p, vf v) { *(vfu *)p = v; }
/* Past the caches: p is a multiple of a vector's size. Other threads see it once this one has taken
 * its next tile, which is a locked instruction. */
INLINE void store_past(float *p, vf v) {
#if __has_builtin(__builtin_nontemporal_store) /* clang's own */
  __builtin_nontemporal_store(v, (vf *)p);
#else
  store(p, v);
#endif
}
/* Asks for the cache line at p, wherever that is. */
INLINE void ask_for(const float *p) { __builtin_prefetch(p, 0, 3); }
/* (Less zero and not plus zero: the compiler takes the first for no operation.) */
INLINE vf splat(float x) { return x - (vf){0}; }
INLINE vf choose(vi mask, vf yes, vf no) { return (vf)(((vi)yes & mask) | ((vi)no & ~mask)); }
