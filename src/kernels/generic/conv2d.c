#include "kernels/generic/level.h"

#include "kernels/simd/conv2d.h"
