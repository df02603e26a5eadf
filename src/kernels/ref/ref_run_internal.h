/* ref_run_internal.h - runs one operator by its reference kernel, for tests and fuzzers here. */
#ifndef KERNELS_REF_REF_RUN_INTERNAL_H
#define KERNELS_REF_REF_RUN_INTERNAL_H

#include <stdlib.h>

#include "kernels/ref/ref_internal.h"
#include "ops/op.h"

/* Infers the outputs, allocates exactly their bytes (at most size_max) and runs. The outputs'
 * data belongs to the caller; it is there only when STATUS_OK comes back. */
static inline status ref_run(op_id id, int opset, const struct attr_list *attrs,
                             const struct tensor *const *in, size_t n_in, struct tensor *out,
                             size_t n_out, size_t size_max, struct error *err) {
    enum { OPERANDS_MAX = 16 };
    struct arena arena = {0};
    struct op_value values[OPERANDS_MAX] = {0}, results[OPERANDS_MAX] = {0};
    const struct op_value *pointers[OPERANDS_MAX] = {0};
    struct tensor *outs[OPERANDS_MAX] = {0};
    for (size_t i = 0; i < n_in; i++) {
        if (!in[i])
            continue;
        values[i] = (struct op_value){
            .dtype = in[i]->dtype, .rank = (int8_t)in[i]->rank, .constant = in[i]};
        memcpy(values[i].dims, in[i]->dims, sizeof in[i]->dims);
        pointers[i] = &values[i];
    }
    struct op_call call = {.op = op_get(id),
                           .opset = opset,
                           .attrs = attrs,
                           .in = pointers,
                           .out = results,
                           .n_in = n_in,
                           .n_out = n_out,
                           .arena = &arena};
    status s = op_infer(&call, err);
    arena_release(&arena);
    memset(out, 0, n_out * sizeof *out);
    for (size_t i = 0; i < n_out && s == STATUS_OK; i++) {
        size_t size = 0;
        bool is_known = true;
        for (int d = 0; d < results[i].rank; d++)
            is_known &= results[i].dims[d] != DIM_UNKNOWN;
        if (!is_known || results[i].rank < 0 ||
            !tensor_size(results[i].dtype, results[i].dims, (size_t)results[i].rank, &size) ||
            size > size_max)
            s = error_set(err, STATUS_RESOURCE_EXHAUSTED, "output %zu has no size in reach", i);
        out[i].dtype = results[i].dtype;
        out[i].rank = (uint8_t)(results[i].rank < 0 ? 0 : results[i].rank);
        memcpy(out[i].dims, results[i].dims, sizeof out[i].dims);
        out[i].size = s == STATUS_OK ? size : 0;
        out[i].data = malloc(out[i].size ? out[i].size : 1);
        outs[i] = &out[i];
    }
    const struct kernel *k = kernel_ref(id);
    struct kernel_call c = {.kernel = k,
                            .op = id,
                            .opset = opset,
                            .attrs = attrs,
                            .in = in,
                            .out = outs,
                            .n_in = n_in,
                            .n_out = n_out};
    struct kernel_team team = {.n_threads = 1};
    if (s == STATUS_OK && k->accepts && !k->accepts(&c))
        s = error_set(err, STATUS_UNIMPLEMENTED, "%s does not accept this", k->name);
    c.scratch_size = s == STATUS_OK && k->scratch ? k->scratch(&c, 1) : 0;
    c.scratch = malloc(c.scratch_size ? c.scratch_size : 1);
    if (s == STATUS_OK)
        s = k->run(&c, &team, err);
    free(c.scratch);
    for (size_t i = 0; i < n_out && s != STATUS_OK; i++)
        free(out[i].data);
    return s;
}

#endif
