/* A pair of IDX files, plain or compressed.
 *
 * Input: a byte that says what the harness compresses (1 the images, 2 the labels), the length of
 * the images' file in two bytes, the two files. */
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "dataset.h"

/* The bytes as gzip has them; the caller frees it. */
static uint8_t *gzip(const uint8_t *data, size_t size, size_t *length) {
  z_stream stream = {0};
  MUST(deflateInit2(&stream, 6, Z_DEFLATED, 31, 9, Z_DEFAULT_STRATEGY) == Z_OK);
  size_t room = deflateBound(&stream, size);
  uint8_t *out = malloc(room);
  stream.next_in = (uint8_t *)data, stream.avail_in = (uInt)size;
  stream.next_out = out, stream.avail_out = (uInt)room;
  MUST(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  *length = stream.total_out;
  deflateEnd(&stream);
  return out;
}

static const char *compressed(int slot, const uint8_t *data, size_t size) {
  size_t length;
  uint8_t *out = gzip(data, size, &length);
  const char *path = memory_file(slot, out, length);
  free(out);
  return path;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  bytes in = {data, data + size};
  uint8_t mode = byte(&in);
  size_t images = word(&in);
  if (images > left(&in)) images = left(&in);
  const char *first = mode & 1 ? compressed(0, in.at, images) : memory_file(0, in.at, images);
  in.at += images;
  const char *second =
      mode & 2 ? compressed(1, in.at, left(&in)) : memory_file(1, in.at, left(&in));
  graft_dataset *dataset = NULL;
  if (DONE(graft_dataset_idx(first, second, &dataset)))
    read_through(dataset);
  else
    MUST(dataset == NULL);
  return 0;
}

/* ---- seeds ---- */

enum { most = 1024 };

/* An input out of two files. */
static void write_pair(const char *name, uint8_t mode, const uint8_t *images, size_t size,
                       const uint8_t *labels, size_t label_size) {
  uint8_t seed[most];
  MUST(3 + size + label_size <= most);
  seed[0] = mode, seed[1] = (uint8_t)(size >> 8), seed[2] = (uint8_t)size;
  memcpy(seed + 3, images, size);
  memcpy(seed + 3 + size, labels, label_size);
  write_seed(name, seed, 3 + size + label_size);
}

void write_seeds(void) {
  static const uint8_t grey[16 + 2 * 3 * 4] = {0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 255};
  static const uint8_t colour[20 + 2 * 2 * 2 * 3] = {0, 0, 8, 4, 0, 0, 0, 2, 0, 0, 0,
                                                     2, 0, 0, 0, 2, 0, 0, 0, 3, 9, 128};
  static const uint8_t labels[] = {0, 0, 8, 1, 0, 0, 0, 2, 0, 3};
  static const uint8_t wide[] = {0, 0, 0xd, 1, 0, 0, 0, 1, 0x3f, 0x80, 0, 0}; /* one float */
  write_pair("grey", 0, grey, sizeof grey, labels, sizeof labels);
  write_pair("colour", 0, colour, sizeof colour, labels, sizeof labels);
  write_pair("compressed here", 3, grey, sizeof grey, labels, sizeof labels);
  write_pair("another type", 0, grey, sizeof grey, wide, sizeof wide);
  size_t size, label_size;
  uint8_t *first = gzip(grey, sizeof grey, &size),
          *second = gzip(labels, sizeof labels, &label_size);
  write_pair("compressed", 0, first, size, second, label_size);
  /* gzip allows several streams, one after the other. */
  uint8_t both[most];
  size_t more;
  free(first);
  first = gzip(grey, 20, &size);
  memcpy(both, first, size);
  free(first);
  first = gzip(grey + 20, sizeof grey - 20, &more);
  memcpy(both + size, first, more);
  write_pair("two streams", 0, both, size + more, second, label_size);
  free(first), free(second);
}
