#include "kernels/x86/avx512_bf16/level.h"

#define LINEAR_TAKES_F32 false
#include "kernels/simd/linear.h"
