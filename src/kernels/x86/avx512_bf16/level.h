/* level.h - AVX-512 with VDPBF16PS: the vectors of avx512, a product of its own for bf16. */
#ifndef KERNELS_X86_AVX512_BF16_LEVEL_H
#define KERNELS_X86_AVX512_BF16_LEVEL_H

#define LEVEL(name)     avx512_bf16_##name
#define LEVEL_NAME      "avx512-bf16"
#define LEVEL_ISA       ISA_AVX512_BF16
#define LEVEL_TAKES_F32 false /* avx512 has the same for f32 */

#include "kernels/x86/avx512/level.h"

#endif
