#include "kernels/x86/avx2/level.h"

#define MATMUL_TAKES_F32 true
#include "kernels/simd/matmul.h"
