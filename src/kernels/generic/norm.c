#include "kernels/generic/level.h"

#include "kernels/simd/norm.h"
