#include "tiles.h"

#include "graft_instructions.h"

const gk_tiles *gk_tiles_here(void) {
#if defined(__x86_64__)
  switch (gk_instruction_set()) {
    case GK_AVX512BF16:
      return &gk_tiles_avx512bf16;
    case GK_AVX512:
      return &gk_tiles_avx512;
    case GK_AVX2:
      return &gk_tiles_avx2;
    case GK_BASELINE:
      break;
  }
#endif
  return &gk_tiles_baseline;
}
