#include "kernels/generic/level.h"

#include "kernels/simd/softmax.h"
