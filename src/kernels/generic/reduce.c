#include "kernels/generic/level.h"

#include "kernels/simd/reduce.h"
