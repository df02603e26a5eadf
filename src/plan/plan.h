/* plan.h - a compiled model: what compiler and engine share, and all that they share.
 *
 * A plan is data: values, steps that compute values from values, and the weights. A step names
 * its operator and its kernel; nothing in a plan is code. lower/ builds a struct plan,
 * plan/write.h puts it into a file, plan/read.h maps the file and gives the struct back, with
 * texts and weights as views of the mapping.
 *
 * Immutable once built or read; any thread may look at it. */
#ifndef PLAN_PLAN_H
#define PLAN_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "ops/attr.h"
#include "ops/dim.h"
#include "tensor/tensor.h"

enum {
    PLAN_VALUES_MAX = 1 << 22,
    PLAN_STEPS_MAX = 1 << 20,
    PLAN_IO_MAX = 1 << 16,
    PLAN_OPERANDS_MAX = 1 << 16, /* inputs, or outputs, of one step */
    PLAN_WEIGHT_ALIGN = 64,      /* of each constant within the weights */
};

#define PLAN_NONE UINT32_MAX /* an optional operand that is left out */

typedef enum plan_value_kind {
    PLAN_INPUT = 1, /* the caller's memory */
    PLAN_CONSTANT,  /* bytes of the weights */
    PLAN_PLANNED,   /* dims follow from the symbols; memory in the session's arena */
    PLAN_ALIAS,     /* the bytes of `of` under other dims (Reshape and the like) */
    PLAN_DYNAMIC,   /* dims are known only when its step runs */
    PLAN_KIND_END,
} plan_value_kind;

struct plan_value {
    str name; /* the model's, where it has one */
    uint8_t kind;
    uint8_t dtype;
    uint8_t rank;
    bool is_packed;            /* CONSTANT: its bytes are what the kernel's pack() wrote */
    uint32_t of;               /* ALIAS: a value that is itself none, and not DYNAMIC */
    dim dims[TENSOR_RANK_MAX]; /* DIM_UNKNOWN only in DYNAMIC values */
    uint64_t offset, size;     /* CONSTANT: its bytes in the weights */
};

struct plan_step {
    str op, kernel; /* names in ops.def and of a kernel */
    str origin;     /* the model's name of the node; may be empty */
    int opset;
    struct attr_list attrs;
    const uint32_t *in, *out; /* values; PLAN_NONE: left out */
    uint32_t n_in, n_out;
};

struct plan_output {
    str name;
    uint32_t value;
};

struct plan {
    uint32_t isa;                     /* level that its kernels need (base/isa.h) */
    str meta;                         /* JSON: model, precision, toolchain, metadata */
    const struct dim_symbol *symbols; /* each is a whole dim of some input */
    uint32_t n_symbols;
    const struct dim_expr *exprs;
    uint32_t n_exprs;
    const struct plan_value *values;
    uint32_t n_values;
    const struct plan_step *steps; /* in the order in which they run */
    uint32_t n_steps;
    const uint32_t *inputs; /* values of kind INPUT, each once */
    uint32_t n_inputs;
    const struct plan_output *outputs;
    uint32_t n_outputs;
    const char *weights; /* constants in the order in which steps read them */
    size_t weights_size;
};

const char *plan_value_kind_name(plan_value_kind k); /* "planned" */

/* The value whose bytes value v has: itself, or what it is an alias of. */
static inline uint32_t plan_root(const struct plan *p, uint32_t v) {
    return p->values[v].kind == PLAN_ALIAS ? p->values[v].of : v;
}

#endif
