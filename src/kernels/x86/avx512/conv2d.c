#include "kernels/x86/avx512/level.h"

#define CONV2D_TAKES_F32 true
#include "kernels/simd/conv2d.h"
