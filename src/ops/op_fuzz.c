/* Shapes with symbols agree with shapes of numbers: whatever op_infer() says about operands with
 * symbols must be what it says when the symbols are replaced by their values. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ops/op.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

enum { INPUTS = 5, ATTRS = 4, OUTPUTS = 3, SYMBOLS = 2, CONTENTS_MAX = 6 };

struct source {
    const uint8_t *p;
    size_t n;
};

static unsigned next(struct source *s) {
    if (s->n == 0)
        return 0;
    s->n--;
    return *s->p++;
}

struct world {
    struct arena arena;
    struct dim_pool pool;
    dim symbol[SYMBOLS];
    int64_t value[SYMBOLS];
};

/* A dim, and the number that it is. */
static dim next_dim(struct source *s, struct world *w, int64_t *number) {
    unsigned v = next(s);
    dim b = w->symbol[0], q = w->symbol[1], d = v % 7;
    switch (v % 16) {
    case 8:
    case 9:
        d = b;
        break;
    case 10:
    case 11:
        d = q;
        break;
    case 12:
        d = dim_mul(&w->pool, b, q);
        break;
    case 13:
        d = dim_add(&w->pool, q, 1);
        break;
    case 14:
        d = dim_mul(&w->pool, q, 6);
        break;
    case 15:
        d = dim_floordiv(&w->pool, dim_add(&w->pool, q, 3), 4);
        break;
    default:
        break;
    }
    *number = dim_eval(w->pool.exprs, w->pool.n_exprs, d, w->value);
    return d;
}

/* The same operand with symbols and with numbers; false: absent. */
static bool next_value(struct source *s, struct world *w, struct op_value *symbolic,
                       struct op_value *concrete) {
    static const dtype dtypes[] = {DTYPE_F32, DTYPE_F32, DTYPE_I64, DTYPE_I64, DTYPE_BOOL};
    unsigned head = next(s);
    if (head % 8 == 7)
        return false;
    *symbolic = (struct op_value){.dtype = dtypes[next(s) % ARRAY_LEN(dtypes)],
                                  .rank = (int8_t)(head % 8 % 6)};
    if (head >= 128) { /* a list, or one number, of known contents */
        symbolic->dtype = DTYPE_I64;
        symbolic->rank = head % 2;
        symbolic->n_contents = symbolic->rank ? next(s) % CONTENTS_MAX : 1;
        symbolic->dims[0] = symbolic->rank ? (dim)symbolic->n_contents : 0;
    }
    *concrete = *symbolic;
    if (head < 128) {
        for (int i = 0; i < symbolic->rank; i++)
            symbolic->dims[i] = next_dim(s, w, &concrete->dims[i]);
        return true;
    }
    dim *a = arena_array(&w->arena, dim, CONTENTS_MAX),
        *b = arena_array(&w->arena, dim, CONTENTS_MAX);
    for (size_t i = 0; i < symbolic->n_contents; i++)
        if (next(s) % 4 == 0)
            a[i] = b[i] = (dim)(next(s) % 8) - 4;
        else
            a[i] = next_dim(s, w, &b[i]);
    symbolic->contents = a;
    concrete->contents = b;
    return true;
}

static struct attr next_attr(struct source *s, struct arena *arena) {
    static const char *const ints_names[] = {
        "axes", "perm", "pads", "strides", "kernel_shape", "split", "dilations", "output_padding"};
    static const char *const int_names[] = {
        "axis", "keepdims",  "group",  "ceil_mode", "blocksize",   "batch_dims",
        "k",    "transA",    "transB", "allowzero", "num_outputs", "start",
        "end",  "num_heads", "heads",  "head_size", "num_groups",  "noop_with_empty_axes"};
    static const char *const string_names[] = {"auto_pad", "equation", "kind", "mode"};
    static const char *const strings[] = {"SAME_UPPER",       "SAME_LOWER", "VALID", "ij,jk->ik",
                                          "...i,...j->...ij", "layer",      "max",   "linear"};
    struct attr a = {.n = 1 + next(s) % 6};
    unsigned kind = next(s) % 4;
    if (kind == 0) {
        int64_t *ints = arena_array(arena, int64_t, a.n);
        for (size_t i = 0; i < a.n; i++)
            ints[i] = (int64_t)(next(s) % 8) - 2;
        a.kind = ATTR_INTS;
        a.name = str_from_c(ints_names[next(s) % ARRAY_LEN(ints_names)]);
        a.ints = ints;
    } else if (kind < 3) {
        a.kind = ATTR_INT;
        a.name = str_from_c(int_names[next(s) % ARRAY_LEN(int_names)]);
        a.i = (int64_t)(next(s) % 10) - 3;
    } else {
        a.kind = ATTR_STRING;
        a.name = str_from_c(string_names[next(s) % ARRAY_LEN(string_names)]);
        a.s = str_from_c(strings[next(s) % ARRAY_LEN(strings)]);
    }
    return a;
}

static void fail(const struct op *op, const char *what, size_t output, int at) {
    fprintf(stderr, "%s: output %zu: %s %d\n", op->name, output, what, at);
    abort();
}

/* `d` is not known, or it is `number`; negative numbers cannot be evaluated. */
static bool agrees(const struct world *w, dim d, dim number) {
    return d == DIM_UNKNOWN || number < 0 || number == DIM_UNKNOWN ||
           dim_eval(w->pool.exprs, w->pool.n_exprs, d, w->value) == number;
}

static void compare(const struct world *w, const struct op *op, bool has_axes, size_t output,
                    const struct op_value *symbolic, const struct op_value *concrete) {
    bool takes_ones = op_id_of(op) == OP_Squeeze && !has_axes; /* a symbol is no 1 to it */
    if (symbolic->rank < 0 || takes_ones)
        return;
    if (symbolic->rank != concrete->rank)
        fail(op, "rank", output, symbolic->rank);
    for (int i = 0; i < symbolic->rank && !symbolic->is_bound; i++)
        if (!agrees(w, symbolic->dims[i], concrete->dims[i]))
            fail(op, "dim", output, i);
    if (!symbolic->contents || !concrete->contents)
        return;
    if (symbolic->n_contents != concrete->n_contents)
        fail(op, "number of contents", output, (int)symbolic->n_contents);
    for (size_t i = 0; i < symbolic->n_contents; i++)
        if (!agrees(w, symbolic->contents[i], concrete->contents[i]))
            fail(op, "content", output, (int)i);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    static const int opsets[] = {0, 7, 11, 13, 18};
    struct source s = {.p = bytes, .n = n};
    struct world w = {0};
    dim_pool_init(&w.pool, &w.arena);
    w.symbol[0] = dim_symbol(&w.pool, STR("b"));
    w.symbol[1] = dim_symbol(&w.pool, STR("s"));
    w.value[0] = 1 + next(&s) % 4;
    w.value[1] = 1 + next(&s) % 9;
    const struct op *op = op_get((op_id)(1 + next(&s) % (OP_COUNT - 1)));
    struct op_call call = {.op = op, .opset = opsets[next(&s) % ARRAY_LEN(opsets)]};
    struct attr attrs[ATTRS];
    struct attr_list list = {.items = attrs, .n = next(&s) % (ATTRS + 1)};
    call.n_in = next(&s) % (INPUTS + 1);
    call.n_out = 1 + next(&s) % OUTPUTS;
    for (size_t i = 0; i < list.n; i++)
        attrs[i] = next_attr(&s, &w.arena);
    struct op_value in[2][INPUTS], out[2][OUTPUTS];
    const struct op_value *pointers[2][INPUTS] = {{0}};
    memset(out, 0, sizeof out);
    for (size_t i = 0; i < call.n_in; i++)
        if (next_value(&s, &w, &in[0][i], &in[1][i])) {
            pointers[0][i] = &in[0][i];
            pointers[1][i] = &in[1][i];
        }
    status got[2];
    call.attrs = &list;
    call.arena = &w.arena;
    for (int k = 0; k < 2; k++) {
        call.pool = k ? NULL : &w.pool;
        call.in = pointers[k];
        call.out = out[k];
        got[k] = op_infer(&call, NULL);
    }
    bool wants_numbers = op_id_of(op) == OP_Conv2d || op_id_of(op) == OP_ConvTranspose2d;
    if (got[0] == STATUS_INVALID_ARGUMENT && got[1] == STATUS_OK && !wants_numbers)
        fail(op, "symbols are refused, numbers are not", 0, 0);
    bool has_axes = (call.n_in > 1 && pointers[0][1]) || attr_find(&list, "axes");
    for (size_t i = 0; got[0] == STATUS_OK && got[1] == STATUS_OK && i < call.n_out; i++)
        compare(&w, op, has_axes, i, &out[0][i], &out[1][i]);
    arena_release(&w.arena);
    return 0;
}
