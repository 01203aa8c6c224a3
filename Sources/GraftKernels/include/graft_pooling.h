/* Pooling, the parameterless shortcut, and changes of layout. N x H x W x C. */
#ifndef GRAFT_POOLING_H
#define GRAFT_POOLING_H

#include "graft_convolution.h"

typedef struct gk_pooling {
  int64_t n, height, width, channels, out_height, out_width;
  int64_t kernel, stride, padding;
  int average; /* zeros of the padding count, as in PyTorch */
} gk_pooling;

/* choice: n x out_height x out_width x channels, for the maximum: the window's element taken (the
 * first of several equal ones); NULL for the average or where no backward pass follows. */
void gk_pool_forward(const gk_pooling *s, int threads, gk_view in, float *out, int32_t *choice);
/* to (+)= the gradient with respect to the view's value. */
void gk_pool_backward(const gk_pooling *s, int threads, const float *gradient,
                      const int32_t *choice, float *to, int accumulate);

/* Mean over an image's pixels. */
void gk_global_pool_forward(int threads, gk_view in, float *out, int64_t n, int64_t pixels,
                            int64_t channels);
void gk_global_pool_backward(int threads, const float *gradient, float *to, int accumulate,
                             int64_t n, int64_t pixels, int64_t channels);

/* Option A: every stride-th row and column, channels padded with zeros from `first` on. */
typedef struct gk_shortcut {
  int64_t n, height, width, channels, out_height, out_width, out_channels, stride, first;
} gk_shortcut;
void gk_shortcut_forward(const gk_shortcut *s, int threads, gk_view in, float *out);
void gk_shortcut_backward(const gk_shortcut *s, int threads, const float *gradient, float *to,
                          int accumulate);

/* Copies between any strides (n, channel, row, column; in elements) and N x H x W x C without gaps.
 */
void gk_gather_images(int threads, const float *from, const int64_t strides[4], float *to,
                      int64_t n, int64_t height, int64_t width, int64_t channels);
void gk_scatter_images(int threads, const float *from, float *to, const int64_t strides[4],
                       int64_t n, int64_t height, int64_t width, int64_t channels);

#endif
