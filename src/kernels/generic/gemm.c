/* gemm.c - products of matrices at this level. */
#include "kernels/generic/level.h"

#include "kernels/simd/gemm_body.h"
#include "kernels/simd/tile.h"

TILE_FNS(f32, false)
TILE_FNS(bf16, true)

const struct tile_kind LEVEL(tile_f32) = {
    .run = TILE_TABLE(f32), .size = 4, .w_size = 4, .group = 1, .narrows = true};
const struct tile_kind LEVEL(tile_bf16) = {
    .run = TILE_TABLE(bf16), .size = 2, .w_size = 2, .group = 1, .narrows = true};
const struct tile_kind LEVEL(tile_wide) = {
    .run = TILE_TABLE(f32), .size = 4, .w_size = 2, .group = 1, .narrows = true};
