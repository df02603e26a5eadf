#include "kernels/generic/level.h"

#define ATTENTION_TAKES_F32 true
#include "kernels/simd/attention.h"
