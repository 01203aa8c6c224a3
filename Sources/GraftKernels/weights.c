#include "graft_weights.h"

#include "graft_parallel.h"
#include "method_loops.h"

#include <stddef.h>
#include <string.h>

gk_tiling gk_tile_weights(const gk_weights *view) {
  gk_tiling tiling = {.filters_per_tile = 1, .tiles_per_filter = 1};
  if (view->length > GK_TILE) {
    tiling.tiles_per_filter = (view->length - 1) / GK_TILE + 1;
    tiling.tiles = view->filters * tiling.tiles_per_filter;
  } else {
    tiling.filters_per_tile = GK_TILE / view->length;
    tiling.tiles = (view->filters - 1) / tiling.filters_per_tile + 1;
  }
  return tiling;
}

int gk_threads_for(int threads, int64_t elements) {
  int64_t useful = elements / GK_GRAIN + 1;
  threads = gk_threads(threads);
  return useful < threads ? (int)useful : threads;
}

gk_tile_range gk_range_of_tile(const gk_weights *view, const gk_tiling *tiling, int64_t tile) {
  gk_tile_range range;
  if (tiling->tiles_per_filter > 1) {
    range.first = tile / tiling->tiles_per_filter;
    range.last = range.first + 1;
    range.from = tile % tiling->tiles_per_filter * GK_TILE;
    range.to = view->length - range.from > GK_TILE ? range.from + GK_TILE : view->length;
  } else {
    range.first = tile * tiling->filters_per_tile;
    range.last = range.first + tiling->filters_per_tile;
    if (range.last > view->filters) range.last = view->filters;
    range.from = 0;
    range.to = view->length;
  }
  return range;
}

static size_t size_of(const gk_weights *view) {
  return view->type == GK_FLOAT32 ? 4 : view->type == GK_FLOAT64 ? 8 : 2;
}

static void *place(const gk_weights *view, int64_t elements) {
  return (char *)view->data + elements * (int64_t)size_of(view);
}

void *gk_in_a_row(const gk_weights *view, int64_t filter, int64_t offset) {
  if (view->rank > 1 || (view->rank == 1 && view->stride[0] != 1)) return NULL;
  return place(view, filter * view->filter_stride + offset);
}

/* Walks the elements of a filter: `position` is where the next one lies, in elements. */
typedef struct walk {
  int64_t index[GK_WEIGHTS_RANK];
  int64_t position;
} walk;

static walk start(const gk_weights *view, int64_t filter, int64_t offset) {
  walk at = {.position = filter * view->filter_stride};
  for (int d = view->rank - 1; d >= 0; --d) {
    at.index[d] = offset % view->shape[d];
    offset /= view->shape[d];
    at.position += at.index[d] * view->stride[d];
  }
  return at;
}

/* Goes past `count` elements that lie in the innermost dimension. */
static void advance(const gk_weights *view, walk *at, int64_t count) {
  int d = view->rank - 1;
  at->index[d] += count;
  at->position += count * view->stride[d];
  while (d > 0 && at->index[d] == view->shape[d]) {
    at->position += view->stride[d - 1] - view->shape[d] * view->stride[d];
    at->index[d] = 0;
    ++at->index[--d];
  }
}

/* Runs of elements that lie `step` apart, to and from a row. */
#define COPY_RUN(type)                                                                           \
  for (int64_t i = 0; i < run; ++i) {                                                            \
    if (reading)                                                                                 \
      ((type *)row)[done + i] = ((const type *)strided)[i * step];                               \
    else                                                                                         \
      ((type *)strided)[i * step] = ((const type *)row)[done + i];                               \
  }

/* Copies elements of a filter as they are, to `row` or from it. */
static void copy(const gk_weights *view, int64_t filter, int64_t offset, int64_t count, void *row,
                 int reading) {
  int inner = view->rank - 1;
  walk at = start(view, filter, offset);
  for (int64_t done = 0; done < count;) {
    int64_t run = view->shape[inner] - at.index[inner], step = view->stride[inner];
    if (run > count - done) run = count - done;
    void *strided = place(view, at.position);
    switch (size_of(view)) {
      case 2: COPY_RUN(uint16_t) break;
      case 4: COPY_RUN(float) break;
      default: COPY_RUN(double) break;
    }
    done += run;
    advance(view, &at, run);
  }
}

const float *gk_gather_float(const gk_weights *view, int64_t filter, int64_t offset,
                             int64_t count, float *buffer) {
  void *row = gk_in_a_row(view, filter, offset);
  if (view->type == GK_FLOAT32) {
    if (row != NULL) return row;
    copy(view, filter, offset, count, buffer, 1);
    return buffer;
  }
  uint16_t gathered[GK_PIECE];
  if (row == NULL) {
    row = gathered;
    copy(view, filter, offset, count, row, 1);
  }
  gk_method_loops_here()->widen(view->type, row, count, buffer);
  return buffer;
}

const double *gk_gather_double(const gk_weights *view, int64_t filter, int64_t offset,
                               int64_t count, double *buffer) {
  double *row = gk_in_a_row(view, filter, offset);
  if (row != NULL) return row;
  copy(view, filter, offset, count, buffer, 1);
  return buffer;
}

static void scatter(const gk_weights *view, int64_t filter, int64_t offset, int64_t count,
                    const void *values) {
  void *row = gk_in_a_row(view, filter, offset);
  if (row == NULL)
    copy(view, filter, offset, count, (void *)values, 0);
  else if (row != values)
    memcpy(row, values, (size_t)count * size_of(view));
}

void gk_scatter_float(const gk_weights *view, int64_t filter, int64_t offset, int64_t count,
                      const float *values) {
  if (view->type == GK_FLOAT32) {
    scatter(view, filter, offset, count, values);
    return;
  }
  uint16_t narrow[GK_PIECE];
  gk_method_loops_here()->narrow(view->type, values, count, narrow);
  scatter(view, filter, offset, count, narrow);
}

void gk_scatter_double(const gk_weights *view, int64_t filter, int64_t offset, int64_t count,
                       const double *values) {
  scatter(view, filter, offset, count, values);
}
