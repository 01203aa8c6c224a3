/* A directory of CIFAR files.
 *
 * Input: a byte that says which of the files there are, and one for the split; then for each file
 * the number of its records, how many bytes are missing at its end or too many, and its records'
 * labels (the pixels are made up: nothing depends on them). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dataset.h"

static const char *const names[8] = {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin",
                                     "data_batch_4.bin", "data_batch_5.bin", "test_batch.bin",
                                     "train.bin",        "test.bin"};

enum { most = 4 * 3074 + 256 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  bytes in = {data, data + size};
  uint8_t there = byte(&in);
  graft_split split = (graft_split)(byte(&in) % 3);
  static uint8_t content[most];
  for (int file = 0; file < 8; ++file) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder(), names[file]);
    unlink(path);
    if (!(there >> file & 1)) continue;
    int label_bytes = file < 6 ? 1 : 2, record = label_bytes + 3072;
    int records = byte(&in) % 4, change = (int8_t)byte(&in);
    int length = records * record + change;
    if (length < 0) length = 0;
    for (int i = 0; i < most; ++i) content[i] = (uint8_t)(i * 31);
    for (int i = 0; i < records; ++i)
      for (int k = 0; k < label_bytes; ++k) content[i * record + k] = byte(&in);
    if (change == -128)
      MUST(mkdir(path, 0700) == 0); /* a directory in a file's place */
    else
      write_file(names[file], content, (size_t)length);
  }
  graft_dataset *dataset = NULL;
  if (DONE(graft_dataset_cifar(folder(), split, &dataset)))
    read_through(dataset);
  else
    MUST(dataset == NULL);
  for (int file = 0; file < 8; ++file) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder(), names[file]);
    rmdir(path);
  }
  return 0;
}

void write_seeds(void) {
  static const uint8_t ten[] = {0x3f, 0, 1, 0, 9, 1, 0, 0, 2, 0, 1, 2, 1, 0, 3, 1, 0, 4, 1, 0, 5};
  static const uint8_t hundred[] = {0xc0, 1, 2, 0, 1, 99, 0, 7, 1, 0, 19, 42};
  write_seed("ten", ten, sizeof ten);
  write_seed("hundred", hundred, sizeof hundred);
}
