#include "kernels/x86/avx2/level.h"

#define LINEAR_TAKES_F32 true
#include "kernels/simd/linear.h"
