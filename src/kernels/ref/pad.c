/* Pad: every output position comes from one input position, or from the constant. */
#include <inttypes.h>

#include "kernels/ref/ref_internal.h"

typedef enum pad_mode { PAD_CONSTANT, PAD_EDGE, PAD_REFLECT, PAD_WRAP } pad_mode;

static pad_mode mode_of(const struct kernel_call *c) {
    str s = attr_string(c->attrs, "mode", "constant");
    return str_eq_c(s, "edge")      ? PAD_EDGE
           : str_eq_c(s, "reflect") ? PAD_REFLECT
           : str_eq_c(s, "wrap")    ? PAD_WRAP
                                    : PAD_CONSTANT;
}

/* Input position for position i (the input is 0 .. n - 1); -1: the constant. */
static int64_t source(pad_mode mode, int64_t i, int64_t n) {
    if (i >= 0 && i < n)
        return i;
    if (n == 0 || mode == PAD_CONSTANT)
        return -1;
    if (mode == PAD_EDGE)
        return i < 0 ? 0 : n - 1;
    int64_t period = mode == PAD_WRAP ? n : n > 1 ? 2 * (n - 1) : 1;
    i %= period;
    i += i < 0 ? period : 0;
    return i < n ? i : period - i;
}

/* Cells before the first of each axis: input 1 or attribute pads, for the axes of input 3. */
static status read_before(const struct kernel_call *c, int rank, int64_t *before,
                          struct error *err) {
    const struct tensor *pads = ref_in(c, 1), *axes = ref_in(c, 3);
    size_t n_list;
    const int64_t *list = attr_ints(c->attrs, "pads", &n_list);
    if (!list)
        list = attr_ints(c->attrs, "paddings", &n_list);
    int64_t n = pads ? tensor_n_elements(pads) : (int64_t)n_list;
    int64_t n_axes = axes ? tensor_n_elements(axes) : rank;
    memset(before, 0, TENSOR_RANK_MAX * sizeof *before);
    if (n != 2 * n_axes)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%" PRId64 " pads for %" PRId64 " axes", n,
                         n_axes);
    for (int64_t i = 0; i < n_axes; i++) {
        int d;
        TRY(ref_axis(axes ? ref_get_int(axes, i) : i, rank, &d, err));
        before[d] = pads ? ref_get_int(pads, i) : list[i];
        if (before[d] < INT32_MIN || before[d] > INT32_MAX)
            return error_set(err, STATUS_INVALID_ARGUMENT, "pad is %" PRId64, before[d]);
    }
    return STATUS_OK;
}

static status pad(const struct kernel_call *c, const struct kernel_team *t, struct error *err) {
    const struct tensor *in = c->in[0], *constant = ref_in(c, 2);
    struct tensor *out = c->out[0];
    int64_t before[TENSOR_RANK_MAX], strides[TENSOR_RANK_MAX];
    size_t size = dtype_size(out->dtype);
    unsigned char filler[8] = {0};
    struct tensor one = {.dtype = out->dtype, .data = filler, .size = size};
    (void)t;
    if (in->rank != out->rank || (constant && tensor_n_elements(constant) != 1))
        return error_set(err, STATUS_INVALID_ARGUMENT, "input has rank %d, output %d", in->rank,
                         out->rank);
    TRY(read_before(c, in->rank, before, err));
    if (constant)
        memcpy(filler, constant->data, size);
    else
        ref_set(&one, 0, (double)attr_float(c->attrs, "value", 0));
    ref_strides(in, strides);
    pad_mode mode = mode_of(c);
    int64_t n = tensor_n_elements(out);
    for (int64_t i = 0; i < n; i++) {
        int64_t from = 0;
        for (int64_t d = out->rank - 1, rest = i; d >= 0 && from >= 0; d--) {
            int64_t at = source(mode, rest % out->dims[d] - before[d], in->dims[d]);
            rest /= out->dims[d];
            from = at < 0 ? -1 : from + at * strides[d];
        }
        memcpy((char *)out->data + (size_t)i * size,
               from < 0 ? (const char *)filler : (const char *)in->data + (size_t)from * size,
               size);
    }
    return STATUS_OK;
}

static bool accepts_pad(const struct kernel_call *c) {
    const struct tensor *constant = ref_in(c, 2);
    return ref_accepts_moved(c) && (!constant || constant->dtype == c->in[0]->dtype);
}

REF(Pad, accepts_pad, pad)
