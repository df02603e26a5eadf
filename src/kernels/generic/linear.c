#include "kernels/generic/level.h"

#include "kernels/simd/linear.h"
