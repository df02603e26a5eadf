#include "kernels/generic/level.h"

#include "kernels/simd/attention.h"
