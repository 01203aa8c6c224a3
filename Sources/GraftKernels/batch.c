#include "graft_batch.h"

#include "graft_parallel.h"

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
  const gk_crop crop = job->crops != NULL ? job->crops[tile] : (gk_crop){0, 0, 0};
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
}

void gk_fill_batch(int threads, const gk_images *from, const int64_t *samples,
                   const gk_crop *crops, int64_t count, float *out, const int64_t strides[4]) {
  batch_job job = {from, samples, crops, out, strides};
  gk_parallel_for(threads, count, fill_image, &job);
}
