#include "kernels/x86/avx2/level.h"

#include "kernels/simd/linear.h"
