/* Random calls: what the input makes of its bytes, and the handles that the calls share. */
#ifndef GRAFT_FUZZ_CALLS_H
#define GRAFT_FUZZ_CALLS_H

#define _GNU_SOURCE

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

enum { slots = 3 };

/* Handles, NULL where there is none yet. */
typedef struct handles {
  graft_network *network[slots];
  graft_value values[slots]; /* of the network so far */
  graft_dataset *data[slots];
  graft_trainer *trainer[slots];
  graft_plan *plan[slots];
  graft_report *report[slots];
  graft_sgd *sgd[slots];
  graft_predictor *predictor[slots];
} handles;

static inline int slot(bytes *in) { return (int)below(in, slots); }

/* Mostly 0 to limit - 1, now and then what no caller should say. */
static inline int64_t number(bytes *in, int64_t limit) {
  static const int64_t odd[] = {-1,        0,         INT64_MAX,  INT64_MIN, INT32_MAX, INT32_MIN,
                                1LL << 32, 1LL << 40, -(1LL << 33), 65537,   32769,     1000001};
  uint8_t choice = byte(in);
  if (choice < 244) return choice % limit;
  return odd[choice - 244];
}

/* Mostly 1 to limit. */
static inline int64_t positive(bytes *in, int64_t limit) {
  int64_t drawn = number(in, limit);
  return drawn >= 0 && drawn < limit ? drawn + 1 : drawn;
}

/* Mostly between 0 and 2. */
static inline double real(bytes *in) {
  static const double odd[] = {-1, -0.0, NAN, INFINITY, -INFINITY, 1e308, 5e-324, 1e-30, 1e30};
  uint8_t choice = byte(in);
  if (choice < 247) return choice / 100.0;
  return odd[choice - 247];
}

/* ---- arrays: of exactly the size that their description says ---- */

typedef struct array {
  graft_tensor is;
  int64_t shape[GRAFT_MAX_RANK], strides[GRAFT_MAX_RANK];
} array;

/* Numbers from the input's next byte: small ones, or now and then not finite. */
static inline void *numbers(bytes *in, graft_dtype type, size_t count) {
  static const size_t sizes[] = {4, 8, 2, 2, 8};
  static const uint16_t half[] = {0x3c00, 0xb800, 0x0001, 0x7bff}, odd[] = {0x7c00, 0x7e00};
  uint8_t start = byte(in);
  char *memory = calloc(count > 0 ? count : 1, sizes[type]);
  MUST(memory != NULL);
  for (size_t i = 0; i < count; ++i) {
    int spoilt = start == 255 && i % 5 == 1;
    double value = spoilt ? (i % 2 ? NAN : INFINITY) : ((int)(start + 37 * i) % 101 - 50) / 25.0;
    if (start % 16 == 0 && !spoilt) value = start / 16; /* all alike */
    if (type == GRAFT_FLOAT32) ((float *)memory)[i] = (float)value;
    else if (type == GRAFT_FLOAT64) ((double *)memory)[i] = value;
    else if (type == GRAFT_INT64) ((int64_t *)memory)[i] = (int64_t)i;
    else ((uint16_t *)memory)[i] = spoilt ? odd[i % 2] : half[(start + i) % 4];
  }
  return memory;
}

/* An array of a shape, with gaps between its elements where the input wants them. */
static inline array make_array(bytes *in, graft_dtype type, int rank, const int64_t *shape) {
  array made = {.is = {.struct_size = sizeof made.is, .dtype = type, .rank = rank}};
  int64_t step = 1 + (byte(in) % 8 == 7), extent = 1;
  for (int axis = rank - 1; axis >= 0; --axis) {
    made.shape[axis] = shape[axis];
    made.strides[axis] = step;
    extent += shape[axis] > 0 ? (shape[axis] - 1) * step : 0;
    step *= shape[axis];
    if (shape[axis] == 0) step = extent = 0;
  }
  made.is.data = numbers(in, type, (size_t)extent);
  return made;
}

/* The description, to be used where the array lies now. */
static inline graft_tensor *tensor_of(array *of, int with_strides) {
  of->is.shape = of->shape;
  of->is.strides = with_strides ? of->strides : NULL;
  return &of->is;
}

static inline void end_array(array *of) { free(of->is.data); }

/* An array of any type and up to 4 small dimensions. */
static inline array any_array(bytes *in) {
  int64_t shape[4];
  int rank = (int)below(in, 5);
  graft_dtype type = byte(in) % 4 ? GRAFT_FLOAT32 : (graft_dtype)below(in, 5);
  for (int axis = 0; axis < rank; ++axis) shape[axis] = below(in, 6);
  return make_array(in, type, rank, shape);
}

/* ---- the calls, by subject ---- */

/* Each makes one call or a few that belong together; `in` says which. */
void call_network(handles *with, bytes *in);
void call_pass(handles *with, bytes *in);
void call_data(handles *with, bytes *in);
void call_trainer(handles *with, bytes *in);
void call_method(handles *with, bytes *in);

#endif
