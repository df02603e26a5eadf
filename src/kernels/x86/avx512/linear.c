#include "kernels/x86/avx512/level.h"

#define LINEAR_TAKES_F32 true
#include "kernels/simd/linear.h"
