/* Passes over parameters beside the optimiser's own step (gk_sgd): the gradients' norm, and a
 * moving average of the weights. Their bits depend on neither threads nor instruction set. */
#ifndef GRAFT_OPTIMISER_H
#define GRAFT_OPTIMISER_H

#include <stdint.h>

/* Tiles of gk_square_sum, each of which takes one number of scratch memory. */
int64_t gk_square_tiles(int64_t count);

/* The sum of the squares, in float64. `scratch` has room for gk_square_tiles(count). */
double gk_square_sum(int threads, const float *x, int64_t count, double *scratch);

/* average += rate (x - average). */
void gk_average(int threads, float *average, const float *x, float rate, int64_t count);

/* Exchanges two arrays that do not overlap. */
void gk_swap(float *a, float *b, int64_t count);

#endif
