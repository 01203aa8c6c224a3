/* A pair of IDX files, plain or compressed.
 *
 * Input: a byte that says what the harness compresses (1 the images, 2 the labels), the length of
 * the images' file in two bytes, the two files. */
#include <stdlib.h>
#include <zlib.h>

#include "dataset.h"

/* The bytes as a gzip file. */
static const char *compressed(int slot, const uint8_t *data, size_t size) {
  z_stream stream = {0};
  MUST(deflateInit2(&stream, 6, Z_DEFLATED, 31, 9, Z_DEFAULT_STRATEGY) == Z_OK);
  size_t room = deflateBound(&stream, size);
  uint8_t *out = malloc(room);
  stream.next_in = (uint8_t *)data, stream.avail_in = (uInt)size;
  stream.next_out = out, stream.avail_out = (uInt)room;
  MUST(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  const char *path = memory_file(slot, out, stream.total_out);
  deflateEnd(&stream);
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
  if (DONE(graft_dataset_idx(first, second, &dataset))) read_through(dataset);
  else MUST(dataset == NULL);
  return 0;
}
