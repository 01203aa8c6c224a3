/* Which instruction set the kernels use. Hot loops are compiled for each of them and chosen here at
 * run time, so that one library runs on every x86-64 (and, as "baseline", elsewhere). */
#ifndef GRAFT_INSTRUCTIONS_H
#define GRAFT_INSTRUCTIONS_H

typedef enum gk_instructions {
  GK_BASELINE = 0,
  GK_AVX2 = 1,  /* AVX2, FMA */
  GK_AVX512 = 2, /* AVX-512 F, VL, BW, DQ */
  GK_AVX512BF16 = 3 /* and BF16 */
} gk_instructions;

/* The best that this processor has, or less if the environment variable GRAFT_INSTRUCTIONS
 * ("baseline", "avx2", "avx512", "avx512bf16") asks for less. Decided once. */
gk_instructions gk_instruction_set(void);

/* The name that the environment variable has for it. */
const char *gk_instruction_name(gk_instructions set);

#endif
