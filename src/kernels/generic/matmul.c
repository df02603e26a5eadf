#include "kernels/generic/level.h"

#define MATMUL_TAKES_F32 true
#include "kernels/simd/matmul.h"
