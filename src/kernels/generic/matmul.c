#include "kernels/generic/level.h"

#include "kernels/simd/matmul.h"
