/* cast.h - Cast between F32 and BF16 (template; see README). */
#ifndef KERNELS_SIMD_CAST_H
#define KERNELS_SIMD_CAST_H

#include "kernels/kernel.h"
#include "kernels/simd/math.h"

static bool cast_accepts(const struct kernel_call *c) {
    dtype from = c->in[0]->dtype, to = c->out[0]->dtype;
    return (from == DTYPE_F32 && to == DTYPE_BF16) || (from == DTYPE_BF16 && to == DTYPE_F32);
}

static status cast_run(const struct kernel_call *c, const struct kernel_team *t,
                       struct error *err) {
    (void)err;
    bool narrows = c->out[0]->dtype == DTYPE_BF16;
    int64_t from, to;
    kernel_share(t, tensor_n_elements(c->in[0]), 64, &from, &to);
    for (int64_t i = from; i < to; i += VL)
        vf_store_as(narrows, c->out[0]->data, i, vf_load_as(!narrows, c->in[0]->data, i, to - i),
                    to - i);
    return STATUS_OK;
}

const struct kernel LEVEL(cast) = {
    .name = LEVEL_NAME ".cast",
    .isa = LEVEL_ISA,
    .op = OP_Cast,
    .accepts = cast_accepts,
    .run = cast_run,
};

#endif
