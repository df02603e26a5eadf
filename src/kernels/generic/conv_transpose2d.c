#include "kernels/generic/level.h"

#include "kernels/simd/conv_transpose2d.h"
