#include "kernels/x86/avx512/level.h"

#define MATMUL_TAKES_F32 true
#include "kernels/simd/matmul.h"
