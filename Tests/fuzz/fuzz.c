#define _GNU_SOURCE
#include "fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

void fuzz_fail(const char *file, int line, const char *what) {
  fprintf(stderr, "%s:%d: %s does not hold (last error: %s)\n", file, line, what,
          graft_last_error());
  abort();
}

int fuzz_done(const char *file, int line, const char *call, graft_status status) {
  if (status == GRAFT_OK) return 1;
  if (status < GRAFT_OK || status >= GRAFT_INTERNAL || graft_last_error()[0] == '\0')
    fuzz_fail(file, line, call);
  return 0;
}

bytes until(bytes *in, const char *end) {
  bytes part = *in;
  uint8_t *found = memmem(in->at, left(in), end, strlen(end));
  part.end = found != NULL ? found : in->end;
  in->at = found != NULL ? found + strlen(end) : in->end;
  return part;
}

static void write_all(int descriptor, const uint8_t *data, size_t size) {
  while (size > 0) {
    ssize_t part = write(descriptor, data, size);
    if (part < 0 && errno == EINTR) continue;
    MUST(part > 0);
    data += part, size -= (size_t)part;
  }
}

const char *memory_file(int slot, const void *data, size_t size) {
  static int descriptors[4];
  static char paths[4][32];
  if (descriptors[slot] == 0) {
    descriptors[slot] = memfd_create("fuzz", MFD_CLOEXEC);
    MUST(descriptors[slot] > 0);
    snprintf(paths[slot], sizeof *paths, "/proc/self/fd/%d", descriptors[slot]);
  }
  MUST(ftruncate(descriptors[slot], 0) == 0 && lseek(descriptors[slot], 0, SEEK_SET) == 0);
  write_all(descriptors[slot], data, size);
  return paths[slot];
}

/* ---- the folder ---- */

static char root[64];

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *walk) {
  (void)status, (void)kind, (void)walk;
  return remove(path);
}

static void remove_folder(void) { nftw(root, remove_entry, 16, FTW_DEPTH | FTW_PHYS); }

const char *folder(void) {
  if (root[0] != '\0') return root;
  snprintf(root, sizeof root, "%s/graft-fuzz-XXXXXX",
           access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
  MUST(mkdtemp(root) != NULL);
  atexit(remove_folder);
  return root;
}

const char *write_file(const char *name, const void *data, size_t size) {
  static char path[256];
  snprintf(path, sizeof path, "%s/%s", folder(), name);
  int descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  MUST(descriptor >= 0);
  write_all(descriptor, data, size);
  close(descriptor);
  return path;
}

uint8_t *read_file(const char *name, size_t *size) {
  char path[256];
  snprintf(path, sizeof path, "%s/%s", folder(), name);
  FILE *file = fopen(path, "rb");
  MUST(file != NULL && fseek(file, 0, SEEK_END) == 0);
  *size = (size_t)ftell(file);
  rewind(file);
  uint8_t *data = malloc(*size + 1);
  MUST(data != NULL && fread(data, 1, *size, file) == *size);
  data[*size] = 0;
  fclose(file);
  return data;
}

uint8_t *safetensors(bytes *in, size_t *size) {
  uint8_t *content = malloc(left(in) + 8);
  MUST(content != NULL);
  if (byte(in) == 'r') {
    memcpy(content, in->at, *size = left(in));
    return content;
  }
  bytes header = *in;
  const uint8_t *end = memchr(in->at, 0, left(in));
  if (end != NULL) header.end = end;
  in->at = end != NULL ? end + 1 : in->end;
  uint64_t length = left(&header);
  memcpy(content, &length, 8);
  memcpy(content + 8, header.at, left(&header));
  memcpy(content + 8 + left(&header), in->at, left(in));
  *size = 8 + left(&header) + left(in);
  return content;
}

/* ---- seeds ---- */

__attribute__((weak)) void write_seeds(void) {}

void write_seed(const char *name, const void *data, size_t size) {
  char path[4096];
  snprintf(path, sizeof path, "%s/%s", getenv("FUZZ_SEEDS"), name);
  FILE *file = fopen(path, "wb");
  MUST(file != NULL && fwrite(data, 1, size, file) == size && fclose(file) == 0);
}

int LLVMFuzzerInitialize(int *count, char ***arguments) {
  (void)count, (void)arguments;
  if (getenv("FUZZ_SEEDS") != NULL) write_seeds();
  return 0;
}

uint64_t fingerprint(graft_network *network) {
  uint64_t hash = 14695981039346656037u; /* FNV-1a */
  for (size_t index = 0; index < graft_network_tensor_count(network); ++index) {
    graft_tensor tensor = {.struct_size = sizeof tensor};
    MUST(DONE(graft_network_tensor(network, index, &tensor)));
    size_t count = tensor.dtype == GRAFT_INT64 ? 8 : 4;
    for (int axis = 0; axis < tensor.rank; ++axis) count *= (size_t)tensor.shape[axis];
    for (size_t i = 0; i < count; ++i)
      hash = (hash ^ ((const uint8_t *)tensor.data)[i]) * 1099511628211u;
  }
  return hash;
}
