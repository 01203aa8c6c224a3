/* Images: taken in from any layout, measured, and put together into batches.
 *
 * They are stored N x height x width x channels, as bytes (value = byte / 255) or floats, and shown
 * as (value - mean) / deviation of their channel. */
#ifndef GRAFT_BATCH_H
#define GRAFT_BATCH_H

#include <stdint.h>

/* Stored images, and how they are shown. One of `bytes` and `floats` is NULL. */
typedef struct gk_images {
  const uint8_t *bytes;
  const float *floats;
  int64_t height, width, channels;
  /* Per channel. For bytes, `table` has what each of 256 bytes is shown as: channels x 256. */
  const double *mean, *deviation;
  const float *table;
  /* Per channel: what a stored 0 is shown as, which is what lies around an image. */
  const float *padding;
} gk_images;

/* Where the window onto an image begins, in its pixels (negative: in the padding around it),
 * whether what is seen is then mirrored left to right, and a rectangle of that which is then set to
 * 0; no height for none. */
typedef struct gk_crop {
  int32_t top, left, flip;
  int32_t erased_top, erased_left, erased_height, erased_width;
} gk_crop;

/* Fills `out` with images samples[0] to samples[count - 1] through windows of the images' own size.
 * `crops` is NULL for whole images. `strides`: of image, channel, row, column, in elements of
 * `out`. A tile is an image. */
void gk_fill_batch(int threads, const gk_images *from, const int64_t *samples,
                   const gk_crop *crops, int64_t count, float *out, const int64_t strides[4]);

/* How an image of a batch is mixed with another: by its share, or, where there is a height, by a
 * rectangle of the other laid over it. */
typedef struct gk_mixed {
  int64_t partner;
  double share;
  int32_t top, left, height, width;
} gk_mixed;

/* out[i] = images[i] mixed with images[mixed[i].partner]. `images` is count x height x width x
 * channels; `strides`, of image, channel, row, column, are of `out`. A tile is an image. */
void gk_mix_batch(int threads, const float *images, const gk_mixed *mixed, int64_t count,
                  int64_t height, int64_t width, int64_t channels, float *out,
                  const int64_t strides[4]);

/* Copies images of shape N x C x H x W, at any strides in elements, into N x H x W x C. */
void gk_take_bytes(const uint8_t *from, const int64_t shape[4], const int64_t strides[4],
                   uint8_t *to);

/* The same for floats. Returns the number, counted in N x H x W x C, of the first that is NaN or
 * infinite, or -1. */
int64_t gk_take_floats(const float *from, const int64_t shape[4], const int64_t strides[4],
                       float *to);

/* Mean and variance (divided by the count) of `pixels` values of one channel, `channels` apart.
 * Of bytes the value is byte / 255, and both are exact up to the last rounding. */
void gk_byte_moments(const uint8_t *first, int64_t pixels, int64_t channels, double *mean,
                     double *variance);
void gk_float_moments(const float *first, int64_t pixels, int64_t channels, double *mean,
                      double *variance);

#endif
