#include "kernels/generic/level.h"

#define LINEAR_TAKES_F32 true
#include "kernels/simd/linear.h"
