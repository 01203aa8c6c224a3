/* A network's file, read by graft_network_load: whatever is in it, the network is as it was, or
 * holds all that the file holds.
 *
 * Input: as `safetensors` of fuzz.h takes it. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

static graft_network *build(void) {
  graft_network *network;
  graft_convolution_options convolution;
  graft_convolution_options_init(&convolution, sizeof convolution);
  convolution.filters = 2, convolution.bias = 1;
  convolution.kernel_height = convolution.kernel_width = 1;
  graft_value at = 0;
  MUST(DONE(graft_network_create(1, 2, 2, &network)));
  MUST(DONE(graft_network_convolution(network, "c", at, &convolution, &at)));
  MUST(DONE(graft_network_batch_norm(network, "n", at, 1e-5, 0.1, &at)));
  MUST(DONE(graft_network_linear(network, "l", at, 2, 1, &at)));
  MUST(DONE(graft_network_finish(network, at, 0)));
  return network;
}

static void run(graft_network *network) {
  float images[4] = {1, -2, 3, 0.5f}, output[2];
  int64_t in[] = {1, 1, 2, 2}, out[] = {1, 2};
  graft_tensor from = {sizeof from, "x", images, GRAFT_FLOAT32, 4, in, NULL};
  graft_tensor to = {sizeof to, "y", output, GRAFT_FLOAT32, 2, out, NULL};
  MUST(DONE(graft_network_forward(network, GRAFT_EVALUATION, &from, &to)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static graft_network *network, *other;
  static uint64_t fresh;
  if (network == NULL) {
    network = build(), other = build();
    fresh = fingerprint(network);
  }
  bytes in = {data, data + size};
  size_t length;
  uint8_t *content = safetensors(&in, &length);
  const char *path = memory_file(0, content, length);
  free(content);
  if (!DONE(graft_network_load(network, path))) {
    MUST(fingerprint(network) == fresh);
    return 0;
  }
  run(network);
  /* What it holds now comes back from a file of ours. */
  char saved[128];
  strcpy(saved, write_file("saved", "", 0));
  MUST(DONE(graft_network_save(network, saved)));
  MUST(DONE(graft_network_load(other, saved)));
  MUST(fingerprint(other) == fingerprint(network));
  graft_network *clean = build();
  MUST(DONE(graft_network_copy(network, clean)));
  graft_network_destroy(clean);
  return 0;
}

/* What the library itself writes, header and data apart, and as a whole. */
void write_seeds(void) {
  graft_network *network = build();
  char path[128];
  strcpy(path, write_file("saved", "", 0));
  MUST(DONE(graft_network_save(network, path)));
  size_t size;
  uint8_t *file = read_file("saved", &size), *seed = malloc(size + 1);
  seed[0] = 'r';
  memcpy(seed + 1, file, size);
  write_seed("whole", seed, size + 1);
  uint64_t length;
  memcpy(&length, file, 8);
  seed[0] = ' ';
  memcpy(seed + 1, file + 8, length);
  seed[1 + length] = 0;
  memcpy(seed + 2 + length, file + 8 + length, size - 8 - length);
  write_seed("parts", seed, size - 6);
  /* Without the checksum, which most changes would break. */
  char *checksum = memmem(seed, length, "\"graft.checksum\"", 16);
  MUST(checksum != NULL);
  memcpy(checksum, "\"other.checksum\"", 16);
  write_seed("unchecked", seed, size - 6);
  free(file), free(seed);
  graft_network_destroy(network);
}
