/* What the fuzz targets share. A target is a libFuzzer program, LLVMFuzzerTestOneInput, that hands
 * its input to the library through the C interface alone, and dies where the library does not keep
 * what its headers promise. How they are built and run: fuzzing.py. */
#ifndef GRAFT_FUZZ_H
#define GRAFT_FUZZ_H

#include <graft.h>
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Called before the first input where FUZZ_SEEDS names a folder: write_seed there what the library
 * itself would write. A target without such seeds leaves it out. */
void write_seeds(void);
void write_seed(const char *name, const void *data, size_t size);

/* ---- what must hold ------------------------------------------------------------------------ */

/* Ends the process, with the place and the library's last words, where `condition` is 0. */
#define MUST(condition) \
  do {                  \
    if (!(condition)) fuzz_fail(__FILE__, __LINE__, #condition); \
  } while (0)

_Noreturn void fuzz_fail(const char *file, int line, const char *what);

/* A status that a call may give: a failure comes with a message, and is no defect of the library's.
 * Returns whether the call has succeeded. */
#define DONE(call) fuzz_done(__FILE__, __LINE__, #call, (call))

int fuzz_done(const char *file, int line, const char *call, graft_status status);

/* ---- the input ----------------------------------------------------------------------------- */

/* Bytes still to be read. Reading past the end gives zeros, so that every input means something. */
typedef struct bytes {
  const uint8_t *at, *end;
} bytes;

static inline size_t left(const bytes *in) { return (size_t)(in->end - in->at); }
static inline uint8_t byte(bytes *in) { return in->at < in->end ? *in->at++ : 0; }
static inline uint32_t word(bytes *in) {
  uint32_t high = byte(in);
  return high << 8 | byte(in);
}
/* 0 to limit - 1. */
static inline int64_t below(bytes *in, int64_t limit) { return byte(in) % limit; }

/* Everything up to `end`, which is taken away; all that is left where it does not come. */
bytes until(bytes *in, const char *end);

/* ---- files --------------------------------------------------------------------------------- */

/* A file in memory, one a slot (0 to 3), with this content. Returns its path. */
const char *memory_file(int slot, const void *data, size_t size);

/* A folder of this process's own, in memory where the system has that; removed when it exits. */
const char *folder(void);

/* Writes a file. Returns its path within the folder, "FOLDER/NAME". */
const char *write_file(const char *name, const void *data, size_t size);

/* Reads a file of the folder; the caller frees it. Ends the process where it is not there. */
uint8_t *read_file(const char *name, size_t *size);

/* A safetensors file out of the whole input: after an 'r' the file as it is; else after any other
 * byte the header's text up to a NUL, which gets its length put before it, and the data. The caller
 * frees it. */
uint8_t *safetensors(bytes *in, size_t *size);

/* ---- a network's state --------------------------------------------------------------------- */

/* A number that differs wherever a network's tensors differ in a byte. */
uint64_t fingerprint(graft_network *network);

#endif
