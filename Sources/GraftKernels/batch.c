#include "graft_batch.h"

#include "graft_parallel.h"

#pragma STDC FP_CONTRACT OFF

#define INLINE static inline __attribute__((always_inline))

typedef struct batch_job {
  const gk_images *from;
  const int64_t *samples;
  const gk_crop *crops;
  float *out;
  const int64_t *strides;
} batch_job;

/* Shows `count` pixels from `pixel` on, `step` (1 or -1) pixels apart. With `channels` and strides
 * that the compiler knows, this is a plain loop. */
INLINE void show(const gk_images *from, int64_t pixel, int64_t step, int64_t count, float *out,
                 int64_t channels, int64_t channel_stride, int64_t column_stride) {
  const uint8_t *bytes = from->bytes;
  const float *floats = from->floats;
  if (bytes != NULL) {
    for (int64_t x = 0; x < count; ++x)
      for (int64_t c = 0; c < channels; ++c)
        out[x * column_stride + c * channel_stride] =
            from->table[c * 256 + bytes[(pixel + x * step) * channels + c]];
  } else {
    for (int64_t x = 0; x < count; ++x)
      for (int64_t c = 0; c < channels; ++c)
        out[x * column_stride + c * channel_stride] =
            (float)((floats[(pixel + x * step) * channels + c] - from->mean[c]) /
                    from->deviation[c]);
  }
}

INLINE void pad(const gk_images *from, int64_t count, float *out, int64_t channel_stride,
                int64_t column_stride) {
  for (int64_t x = 0; x < count; ++x)
    for (int64_t c = 0; c < from->channels; ++c)
      out[x * column_stride + c * channel_stride] = from->padding[c];
}

static void fill_image(void *context, int64_t tile, int worker) {
  (void)worker;
  const batch_job *job = context;
  const gk_images *from = job->from;
  const int64_t height = from->height, width = from->width, channels = from->channels;
  const int64_t channel_stride = job->strides[1], row_stride = job->strides[2],
                column_stride = job->strides[3];
  const int packed = channel_stride == 1 && column_stride == channels;
  const gk_crop crop = job->crops != NULL ? job->crops[tile] : (gk_crop){0};
  const int64_t step = crop.flip ? -1 : 1;
  /* Columns `begin` to `end` of the window, counted as they are written, lie on the image. */
  const int64_t left = crop.left < -width ? -width : crop.left > width ? width : crop.left;
  const int64_t lead = left < 0 ? -left : 0, trail = left > 0 ? left : 0;
  const int64_t begin = crop.flip ? trail : lead, end = width - (crop.flip ? lead : trail);

  for (int64_t y = 0; y < height; ++y) {
    float *row = job->out + tile * job->strides[0] + y * row_stride;
    const int64_t source = y + crop.top;
    if (source < 0 || source >= height || begin >= end) {
      pad(from, width, row, channel_stride, column_stride);
      continue;
    }
    const int64_t column = left + (crop.flip ? width - 1 - begin : begin);
    const int64_t pixel = (job->samples[tile] * height + source) * width + column;
    float *out = row + begin * column_stride;
    pad(from, begin, row, channel_stride, column_stride);
    if (packed && channels == 3)
      show(from, pixel, step, end - begin, out, 3, 1, 3);
    else if (packed && channels == 1)
      show(from, pixel, step, end - begin, out, 1, 1, 1);
    else
      show(from, pixel, step, end - begin, out, channels, channel_stride, column_stride);
    pad(from, width - end, row + end * column_stride, channel_stride, column_stride);
  }
  for (int64_t y = 0; y < crop.erased_height; ++y) {
    float *row = job->out + tile * job->strides[0] + (crop.erased_top + y) * row_stride;
    for (int64_t x = crop.erased_left; x < crop.erased_left + crop.erased_width; ++x)
      for (int64_t c = 0; c < channels; ++c) row[x * column_stride + c * channel_stride] = 0;
  }
}

void gk_fill_batch(int threads, const gk_images *from, const int64_t *samples,
                   const gk_crop *crops, int64_t count, float *out, const int64_t strides[4]) {
  batch_job job = {from, samples, crops, out, strides};
  gk_parallel_for(threads, count, fill_image, &job);
}

/* ---- mixing ---------------------------------------------------------------------------------- */

typedef struct mix_job {
  const float *images;
  const gk_mixed *mixed;
  int64_t height, width, channels;
  float *out;
  const int64_t *strides;
} mix_job;

/* (Of pixels that lie behind one another the compiler makes one loop.) */
INLINE void mix_pixels(const float *own, const float *other, double share, int64_t count,
                       float *out, int64_t channels, int64_t channel_stride,
                       int64_t column_stride) {
  for (int64_t x = 0; x < count; ++x)
    for (int64_t c = 0; c < channels; ++c)
      out[x * column_stride + c * channel_stride] =
          (float)(share * (double)own[x * channels + c] +
                  (1 - share) * (double)other[x * channels + c]);
}

INLINE void copy_pixels(const float *from, int64_t count, float *out, int64_t channels,
                        int64_t channel_stride, int64_t column_stride) {
  for (int64_t x = 0; x < count; ++x)
    for (int64_t c = 0; c < channels; ++c)
      out[x * column_stride + c * channel_stride] = from[x * channels + c];
}

static void mix_image(void *context, int64_t tile, int worker) {
  (void)worker;
  const mix_job *job = context;
  const gk_mixed *mixed = &job->mixed[tile];
  const int64_t width = job->width, channels = job->channels, size = job->height * width * channels;
  const float *own = job->images + tile * size, *other = job->images + mixed->partner * size;
  const int64_t channel_stride = job->strides[1], column_stride = job->strides[3];
  const int packed = channel_stride == 1 && column_stride == channels;
  for (int64_t y = 0; y < job->height; ++y) {
    const float *a = own + y * width * channels, *b = other + y * width * channels;
    float *row = job->out + tile * job->strides[0] + y * job->strides[2];
    if (mixed->height == 0 && mixed->share < 1) {
      if (packed)
        mix_pixels(a, b, mixed->share, width * channels, row, 1, 0, 1);
      else
        mix_pixels(a, b, mixed->share, width, row, channels, channel_stride, column_stride);
      continue;
    }
    if (packed)
      copy_pixels(a, width * channels, row, 1, 0, 1);
    else
      copy_pixels(a, width, row, channels, channel_stride, column_stride);
    if (y >= mixed->top && y < mixed->top + mixed->height)
      copy_pixels(b + mixed->left * channels, mixed->width, row + mixed->left * column_stride,
                  channels, channel_stride, column_stride);
  }
}

void gk_mix_batch(int threads, const float *images, const gk_mixed *mixed, int64_t count,
                  int64_t height, int64_t width, int64_t channels, float *out,
                  const int64_t strides[4]) {
  mix_job job = {images, mixed, height, width, channels, out, strides};
  gk_parallel_for(threads, count, mix_image, &job);
}
