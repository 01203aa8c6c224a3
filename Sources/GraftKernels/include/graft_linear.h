/* Matrix products of the linear layer, through a serial OpenBLAS of our own, called on tiles of a
 * fixed size: the same bits at any number of threads. Row-major, without gaps. */
#ifndef GRAFT_LINEAR_H
#define GRAFT_LINEAR_H

#include <stdint.h>

/* y = x W' + bias. x: n x in, W: out x in, y: n x out; bias may be NULL. */
void gk_linear_forward(int threads, const float *x, const float *weights, const float *bias,
                       float *y, int64_t n, int64_t in, int64_t out);

/* dx (+)= dy W; dx may be NULL. dW = dy' x, db = column sums of dy (NULL if there is no bias). */
void gk_linear_backward(int threads, const float *x, const float *weights, const float *dy,
                        float *dx, int accumulate, float *dw, float *db, int64_t n, int64_t in,
                        int64_t out);

#endif
