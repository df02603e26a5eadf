#include "kernels/generic/level.h"

#include "kernels/simd/resize2d.h"
