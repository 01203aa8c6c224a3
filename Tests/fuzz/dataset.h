/* What the targets that read data sets do with one that they got. */
#ifndef GRAFT_FUZZ_DATASET_H
#define GRAFT_FUZZ_DATASET_H

#include <stdlib.h>

#include "fuzz.h"

/* Reads a data set's first and last image and a batch, checks its numbers, and ends it. */
static inline void read_through(graft_dataset *dataset) {
  graft_dataset_info info = {.struct_size = sizeof info};
  MUST(DONE(graft_dataset_get_info(dataset, &info)));
  MUST(info.count > 0 && info.channels > 0 && info.height > 0 && info.width > 0);
  MUST(info.classes > 0 && info.classes <= 65536);
  size_t elements = (size_t)(info.channels * info.height * info.width);
  size_t channels = (size_t)info.channels;
  double *mean = calloc(channels, sizeof *mean), *deviation = calloc(channels, sizeof *mean);
  MUST(DONE(graft_dataset_statistics(dataset, mean, deviation, channels)));
  for (size_t c = 0; c < channels; ++c)
    MUST(mean[c] >= 0 && mean[c] <= 1 && deviation[c] >= 0 && deviation[c] <= 0.5 + 1e-9);
  float *images = calloc(2 * elements, sizeof *images);
  int64_t shape[] = {2, info.channels, info.height, info.width}, labels[2] = {-1, -1};
  graft_tensor to = {sizeof to, "images", images, GRAFT_FLOAT32, 4, shape, NULL};
  int64_t ends[] = {0, info.count - 1};
  MUST(DONE(graft_dataset_read(dataset, ends, 2, &to, labels)));
  for (size_t i = 0; i < 2 * elements; ++i) MUST(images[i] >= 0 && images[i] <= 1);
  for (int i = 0; i < 2; ++i) MUST(labels[i] >= 0 && labels[i] < info.classes);
  size_t count = 0;
  MUST(DONE(graft_dataset_batch(dataset, 1, 1, 0, 2, 1, 1, &to, labels, &count)));
  MUST(count == (info.count < 2 ? 1 : 2));
  free(mean), free(deviation), free(images);
  graft_dataset_destroy(dataset);
}

#endif
