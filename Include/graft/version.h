/** @file
 * Versions: which header a program was compiled against, and which library it runs on.
 */
#ifndef GRAFT_VERSION_H
#define GRAFT_VERSION_H

#ifdef __cplusplus
extern "C" {
#endif

/** The version of this header. Within a major version a newer library runs older programs. */
#define GRAFT_VERSION_MAJOR 0
#define GRAFT_VERSION_MINOR 1
#define GRAFT_VERSION_PATCH 0

/** One number that grows with every release: major * 10000 + minor * 100 + patch. */
#define GRAFT_VERSION \
  (GRAFT_VERSION_MAJOR * 10000 + GRAFT_VERSION_MINOR * 100 + GRAFT_VERSION_PATCH)

/** Returns the version of the library that is loaded, as GRAFT_VERSION counts. Never fails. */
int graft_version(void);

/** Returns the same as text, "0.1.0". The text lives as long as the library. */
const char *graft_version_string(void);

/**
 * Returns the instruction set that the kernels use on this processor: "avx512bf16", "avx512",
 * "avx2" or "baseline". The environment variable GRAFT_INSTRUCTIONS, read once, asks for a lesser
 * one (for tests). The text lives as long as the library.
 */
const char *graft_instructions(void);

#ifdef __cplusplus
}
#endif
#endif
