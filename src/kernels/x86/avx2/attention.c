#include "kernels/x86/avx2/level.h"

#define ATTENTION_TAKES_F32 true
#include "kernels/simd/attention.h"
