#include "kernels/x86/avx512/level.h"

#include "kernels/simd/linear.h"
