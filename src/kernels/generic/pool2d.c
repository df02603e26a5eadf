#include "kernels/generic/level.h"

#include "kernels/simd/pool2d.h"
