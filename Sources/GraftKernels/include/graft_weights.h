/* A weight tensor as the method sees it: filters, each a run of elements, in memory of any strides
 * and of four types. Loops see float32, which holds the two half types exactly, or float64. And
 * how such a tensor is cut into tiles of a fixed size, so that sums come out the same at any
 * number of threads. */
#ifndef GRAFT_WEIGHTS_H
#define GRAFT_WEIGHTS_H

#include <stdint.h>

#define GK_WEIGHTS_RANK 8

/* The numbers are graft_dtype's. */
typedef enum gk_type { GK_FLOAT32 = 0, GK_FLOAT64 = 1, GK_FLOAT16 = 2, GK_BFLOAT16 = 3 } gk_type;

/* At least one filter of at least one element; strides in elements. */
typedef struct gk_weights {
  void *data;
  int32_t type; /* gk_type */
  int64_t filters, filter_stride;
  /* Elements of one filter: the product of `shape`. */
  int64_t length;
  /* Dimensions of one filter, those that lie behind one another joined; 0 for one element. */
  int32_t rank;
  int64_t shape[GK_WEIGHTS_RANK], stride[GK_WEIGHTS_RANK];
} gk_weights;

/* Elements that one loop works on at a time (they fit the first-level cache), and elements of a
 * tile, the grain of parallel work. Sums are cut at both, so these numbers are part of results. */
#define GK_PIECE 2048
#define GK_TILE (8 * GK_PIECE)

/* A tile is whole filters, or a part of one filter longer than a tile. */
typedef struct gk_tiling {
  int64_t tiles, filters_per_tile, tiles_per_filter;
} gk_tiling;

gk_tiling gk_tile_weights(const gk_weights *view);

/* How many of the threads asked for are worth waking for so many elements: one is done with
 * GK_GRAIN of them in the time that it takes another to begin. */
#define GK_GRAIN (1 << 18)
int gk_threads_for(int threads, int64_t elements);

/* What tile `tile` covers: filters [first, last), and of each the elements [from, to). */
typedef struct gk_tile_range {
  int64_t first, last, from, to;
} gk_tile_range;

gk_tile_range gk_range_of_tile(const gk_weights *view, const gk_tiling *tiling, int64_t tile);

/* `count` <= GK_PIECE elements of a filter from `offset` on, of any type but float64: where they
 * lie, if they lie in a row and are float32, or else copied to `buffer`. */
const float *gk_gather_float(const gk_weights *view, int64_t filter, int64_t offset,
                             int64_t count, float *buffer);

/* The same of float64. */
const double *gk_gather_double(const gk_weights *view, int64_t filter, int64_t offset,
                               int64_t count, double *buffer);

/* Where those elements lie in a row, or NULL. */
void *gk_in_a_row(const gk_weights *view, int64_t filter, int64_t offset);

/* Writes `count` <= GK_PIECE elements of a filter from `offset` on, of any type but float64. The
 * values are ones that the type holds exactly. */
void gk_scatter_float(const gk_weights *view, int64_t filter, int64_t offset, int64_t count,
                      const float *values);

/* The same of float64. */
void gk_scatter_double(const gk_weights *view, int64_t filter, int64_t offset, int64_t count,
                       const double *values);

#endif
