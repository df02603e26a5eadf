#include "kernels/generic/level.h"

#include "kernels/simd/cast.h"
