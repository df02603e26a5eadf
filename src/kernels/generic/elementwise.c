#include "kernels/generic/level.h"

#include "kernels/simd/elementwise.h"
