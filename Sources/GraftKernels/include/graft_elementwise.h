/* Passes over memory between the convolutions: residual sums, rectifiers, the sums of batch norm's
 * backward pass, the optimiser's step. Tensors are pixels x channels (N H W x C). */
#ifndef GRAFT_ELEMENTWISE_H
#define GRAFT_ELEMENTWISE_H

#include "graft_convolution.h"

/* Pixels in a tile of `channels` channels: about 16384 floats, whatever the number of threads. */
int64_t gk_tile_pixels(int64_t channels);
int64_t gk_pixel_tiles(int64_t pixels, int64_t channels);

/* out = rectify(a + b). b.x may be NULL: then out = rectify(a). out may be a.x or b.x where that
 * view has neither scale nor slope. */
void gk_sum_forward(int threads, gk_view a, gk_view b, float slope, float *out, int64_t pixels,
                    int64_t channels);

/* gradient *= out > 0 ? 1 : slope, in place; out is what the rectifier gave. */
void gk_rectify_backward(int threads, const float *out, float slope, float *gradient,
                         int64_t count);

/* to (+)= the gradient with respect to x that a view stands for. */
void gk_apply_gradient(int threads, gk_gradient_view gradient, float *to, int accumulate,
                       int64_t pixels, int64_t channels);

/* Plain SGD as torch.optim.SGD: d = scale gradient + decay w; momentum = first ? d : mu momentum
 * + d; w -= rate (nesterov ? d + mu momentum : momentum). */
typedef struct gk_sgd_settings {
  float rate, momentum, decay, scale;
  int nesterov, first;
} gk_sgd_settings;
void gk_sgd(int threads, const gk_sgd_settings *settings, float *weights, const float *gradient,
            float *momentum, int64_t count);

#endif
