#include "kernels/kernel.h"

#define KERNEL(symbol) extern const struct kernel symbol;
#include "kernels/kernels.def"
#undef KERNEL

#define OP(name, domain, infer, min_in, max_in, max_out) extern const struct kernel ref_##name;
#include "ops/ops.def"
#undef OP

/* The fast ones in the order of kernels.def, then every reference kernel in that of op_id. */
static const struct kernel *const kernels[] = {
#define KERNEL(symbol) &symbol,
#include "kernels/kernels.def"
#undef KERNEL
#define OP(name, domain, infer, min_in, max_in, max_out) &ref_##name,
#include "ops/ops.def"
#undef OP
};

enum { KERNELS = sizeof kernels / sizeof *kernels, FAST = KERNELS - (OP_COUNT - 1) };

const struct kernel *kernel_at(size_t i) {
    return i < KERNELS ? kernels[i] : NULL;
}

const struct kernel *kernel_ref(op_id op) {
    return op > OP_NONE && op < OP_COUNT ? kernels[FAST + (int)op - 1] : NULL;
}

const struct kernel *kernel_find(str name) {
    for (size_t i = 0; i < KERNELS; i++)
        if (str_eq_c(name, kernels[i]->name))
            return kernels[i];
    return NULL;
}

/* Levels from AVX512_BF16 on add nothing but BF16: without it they only tie a plan to newer
 * CPUs. */
static bool has_bf16(const struct kernel_call *c) {
    for (size_t i = 0; i < c->n_in; i++)
        if (c->in[i] && c->in[i]->dtype == DTYPE_BF16)
            return true;
    for (size_t i = 0; i < c->n_out; i++)
        if (c->out[i] && c->out[i]->dtype == DTYPE_BF16)
            return true;
    return false;
}

const struct kernel *kernel_choose(const struct kernel_call *c, isa level) {
    if (level >= ISA_AVX512_BF16 && !has_bf16(c))
        level = ISA_AVX512;
    const struct kernel *best = NULL; /* reference kernels are generic and come last */
    for (size_t i = 0; i < KERNELS; i++) {
        const struct kernel *k = kernels[i];
        if (k->op == c->op && k->isa <= level && (!best || k->isa > best->isa) &&
            (!k->accepts || k->accepts(c)))
            best = k;
    }
    return best;
}
