#include "kernels/x86/avx2/level.h"

#define CONV2D_TAKES_F32 true
#include "kernels/simd/conv2d.h"
