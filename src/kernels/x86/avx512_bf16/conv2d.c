#include "kernels/x86/avx512_bf16/level.h"

#define CONV2D_TAKES_F32 false
#include "kernels/simd/conv2d.h"
