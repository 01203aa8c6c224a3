/** @file
 * How a caller's array is described: where it lies, what it holds, its shape and its strides.
 * The library works on the caller's memory in place; a description is read during the call and
 * never kept.
 */
#ifndef GRAFT_TENSOR_H
#define GRAFT_TENSOR_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The type of an array's elements. The numbers never change. */
typedef enum graft_dtype {
  GRAFT_FLOAT32 = 0,
  GRAFT_FLOAT64 = 1,
  GRAFT_FLOAT16 = 2,
  GRAFT_BFLOAT16 = 3,
  /** Counters (a batch norm's num_batches_tracked); never grafted. */
  GRAFT_INT64 = 4
} graft_dtype;

/** The highest rank that a tensor may have. */
#define GRAFT_MAX_RANK 8

/** An array in the caller's memory. */
typedef struct graft_tensor {
  /** sizeof(graft_tensor) as the caller was compiled with. */
  size_t struct_size;
  /** UTF-8, used in reports and messages, never to decide anything. May be NULL. */
  const char *name;
  /** The first element. Aligned to the element's size. NULL only where a dimension is 0. */
  void *data;
  graft_dtype dtype;
  /** Number of dimensions, 0 (one element) to GRAFT_MAX_RANK. */
  int32_t rank;
  /** `rank` dimensions, each >= 0. May be NULL where rank is 0. */
  const int64_t *shape;
  /**
   * `rank` strides, in elements, each >= 0; no two elements of a tensor that is written may share
   * memory. NULL means row-major without gaps.
   */
  const int64_t *strides;
} graft_tensor;

#ifdef __cplusplus
}
#endif
#endif
