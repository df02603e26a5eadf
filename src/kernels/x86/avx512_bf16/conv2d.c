#include "kernels/x86/avx512_bf16/level.h"

#include "kernels/simd/conv2d.h"
