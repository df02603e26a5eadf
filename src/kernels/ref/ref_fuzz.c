/* Any operator with any attributes on any small operands: an error or a result, no bad access. */
#include <stdlib.h>
#include <string.h>

#include "kernels/ref/ref_run_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

enum { INPUTS = 5, ATTRS = 6, OUTPUTS = 3, SIZE_LIMIT = 1 << 20 };

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

static int64_t next_int(struct source *s) {
    static const int64_t extremes[] = {INT64_MIN, INT64_MAX, INT32_MIN, INT64_MIN + 1, 1 << 20};
    unsigned v = next(s);
    return v >= 251 ? extremes[v - 251] : (int64_t)(v % 16) - 3;
}

static float next_float(struct source *s) {
    return ((float)next(s) - 100) / 16;
}

static struct attr next_attr(struct source *s, int64_t ints[8], float floats[8],
                             struct tensor *value) {
    static const char *const ints_names[] = {
        "axes",           "perm",         "pads", "strides", "dilations", "kernel_shape", "split",
        "output_padding", "output_shape", "code", "results", "dtypes",    "starts",       "ends"};
    static const char *const int_names[] = {"axis",
                                            "keepdims",
                                            "group",
                                            "ceil_mode",
                                            "to",
                                            "blocksize",
                                            "batch_dims",
                                            "k",
                                            "heads",
                                            "head_size",
                                            "num_heads",
                                            "q_offset",
                                            "transA",
                                            "transB",
                                            "block_size",
                                            "exclusive",
                                            "reverse",
                                            "size",
                                            "time_axis",
                                            "num_groups",
                                            "upper",
                                            "allowzero",
                                            "storage_order",
                                            "antialias",
                                            "interleaved",
                                            "rotary_embedding_dim",
                                            "count_include_pad",
                                            "global",
                                            "head_size_v",
                                            "exclude_outside",
                                            "num_outputs",
                                            "start",
                                            "end",
                                            "activation",
                                            "dtype"};
    static const char *const string_names[] = {
        "mode",         "auto_pad",  "equation",
        "reduction",    "kind",      "coordinate_transformation_mode",
        "nearest_mode", "direction", "keep_aspect_ratio_policy"};
    static const char *const strings[] = {"linear",
                                          "cubic",
                                          "nearest",
                                          "SAME_UPPER",
                                          "SAME_LOWER",
                                          "VALID",
                                          "ij,jk->ik",
                                          "...i,...i",
                                          "ii->i",
                                          "i...,...",
                                          "add",
                                          "max",
                                          "wrap",
                                          "reflect",
                                          "edge",
                                          "RIGHT",
                                          "CRD",
                                          "layer",
                                          "rms",
                                          "l2",
                                          "average",
                                          "align_corners",
                                          "tf_crop_and_resize",
                                          "asymmetric",
                                          "ceil",
                                          "not_larger",
                                          "not_smaller"};
    struct attr a = {.n = 1 + next(s) % 8};
    for (size_t i = 0; i < 8; i++) {
        ints[i] = next_int(s);
        floats[i] = next_float(s);
    }
    unsigned which = next(s);
#define PICK(list) list[next(s) % ARRAY_LEN(list)]
    if (which % 8 < 3) {
        a.kind = ATTR_INTS;
        a.name = str_from_c(PICK(ints_names));
        a.ints = ints;
    } else if (which % 8 < 5) {
        a.kind = ATTR_INT;
        a.name = str_from_c(PICK(int_names));
        a.i = ints[0];
    } else if (which % 8 < 7) {
        a.kind = ATTR_STRING;
        a.name = str_from_c(PICK(string_names));
        a.s = str_from_c(PICK(strings));
    } else if (which < 128) {
        a.kind = ATTR_FLOATS;
        a.name = str_from_c(which < 64 ? "scales" : "consts");
        a.floats = floats;
    } else {
        *value = (struct tensor){.dtype = DTYPE_F32, .data = floats, .size = 4};
        a.kind = ATTR_TENSOR;
        a.name = STR("value");
        a.tensor = value;
    }
#undef PICK
    return a;
}

/* A tensor of exactly its size on the heap; false: absent. */
static bool next_tensor(struct source *s, struct tensor *t) {
    static const dtype dtypes[] = {DTYPE_F32, DTYPE_F32,  DTYPE_I64, DTYPE_I64, DTYPE_I32, DTYPE_U8,
                                   DTYPE_I8,  DTYPE_BOOL, DTYPE_F64, DTYPE_F16, DTYPE_U64};
    unsigned head = next(s);
    if (head % 8 == 7)
        return false;
    *t = (struct tensor){.dtype = dtypes[next(s) % ARRAY_LEN(dtypes)], .rank = head % 8 % 6};
    for (int i = 0; i < t->rank; i++)
        t->dims[i] = next(s) % 5;
    if (!tensor_size(t->dtype, t->dims, t->rank, &t->size))
        abort();
    t->data = malloc(t->size ? t->size : 1);
    for (int64_t i = 0, n = tensor_n_elements(t); i < n; i++)
        if (dtype_is_float(t->dtype))
            ref_set(t, i, (double)next_float(s));
        else
            ref_set_int(t, i, next_int(s));
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    static const int opsets[] = {0, 1, 7, 10, 11, 13, 18, 21};
    struct source s = {.p = bytes, .n = n};
    op_id id = (op_id)(1 + next(&s) % (OP_COUNT - 1));
    int opset = opsets[next(&s) % ARRAY_LEN(opsets)];
    size_t n_in = next(&s) % (INPUTS + 1), n_attrs = next(&s) % (ATTRS + 1);
    size_t n_out = 1 + next(&s) % OUTPUTS;
    struct attr attrs[ATTRS];
    int64_t ints[ATTRS][8];
    float floats[ATTRS][8];
    struct tensor attr_values[ATTRS], in[INPUTS] = {0}, out[OUTPUTS];
    const struct tensor *pointers[INPUTS] = {0};
    for (size_t i = 0; i < n_attrs; i++)
        attrs[i] = next_attr(&s, ints[i], floats[i], &attr_values[i]);
    for (size_t i = 0; i < n_in; i++)
        pointers[i] = next_tensor(&s, &in[i]) ? &in[i] : NULL;
    struct attr_list list = {.items = attrs, .n = n_attrs};
    struct error err;
    if (ref_run(id, opset, &list, pointers, n_in, out, n_out, SIZE_LIMIT, &err) == STATUS_OK)
        for (size_t i = 0; i < n_out; i++)
            free(out[i].data);
    for (size_t i = 0; i < n_in; i++)
        free(in[i].data);
    return 0;
}
