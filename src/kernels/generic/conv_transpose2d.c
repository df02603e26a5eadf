#include "kernels/generic/level.h"

#define CONV_TRANSPOSE2D_TAKES_F32 true
#include "kernels/simd/conv_transpose2d.h"
