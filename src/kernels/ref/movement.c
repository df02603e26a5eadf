/* Operators that move elements without looking at them. */
#include <inttypes.h>

#include "kernels/ref/ref_internal.h"

REF(Flatten, ref_accepts_moved, ref_copy)
REF(Identity, ref_accepts_moved, ref_copy)
REF(Reshape, ref_accepts_moved, ref_copy)
REF(Squeeze, ref_accepts_moved, ref_copy)
REF(Unsqueeze, ref_accepts_moved, ref_copy)

static status dropout(const struct kernel_call *c, const struct kernel_team *t, struct error *err) {
    struct tensor *mask = ref_out(c, 1);
    TRY(ref_copy(c, t, err));
    for (int64_t i = 0, n = mask ? tensor_n_elements(mask) : 0; i < n; i++)
        ref_set_int(mask, i, 1);
    return STATUS_OK;
}

REF(Dropout, ref_accepts_fixed, dropout)

/* The walk of a whole output, row-major; operand 1 is for the caller. */
static struct ref_walk walk_of(const struct tensor *out) {
    struct ref_walk w = {.rank = out->rank, .n_operands = 2};
    memcpy(w.dims, out->dims, out->rank * sizeof *w.dims);
    ref_strides(out, w.strides[0]);
    w.is_done = tensor_n_elements(out) <= 0;
    return w;
}

static status transpose(const struct kernel_call *c, const struct kernel_team *t,
                        struct error *err) {
    const struct tensor *in = c->in[0];
    struct tensor *out = c->out[0];
    struct ref_walk w = walk_of(out);
    int64_t strides[TENSOR_RANK_MAX];
    size_t n;
    const int64_t *perm = attr_ints(c->attrs, "perm", &n);
    (void)t;
    if (in->rank != out->rank || (perm && n != in->rank))
        return error_set(err, STATUS_INVALID_ARGUMENT, "input has rank %d, output %d, perm %zu",
                         in->rank, out->rank, n);
    ref_strides(in, strides);
    for (int i = 0; i < in->rank; i++) {
        int64_t from = perm ? perm[i] : in->rank - 1 - i;
        if (from < 0 || from >= in->rank || in->dims[from] != out->dims[i])
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "output dim %d is not input dim %" PRId64, i, from);
        w.strides[1][i] = strides[from];
    }
    ref_walk_copy(&w, out->data, in->data, dtype_size(out->dtype));
    return STATUS_OK;
}

REF(Transpose, ref_accepts_moved, transpose)

/* All dims but `axis` are equal. */
static status check_beside_axis(const struct tensor *part, const struct tensor *whole, int axis,
                                struct error *err) {
    int64_t dims[TENSOR_RANK_MAX];
    memcpy(dims, whole->dims, sizeof dims);
    if (part->rank == whole->rank)
        dims[axis] = part->dims[axis];
    return ref_want_dims("part", part, dims, whole->rank, err);
}

static status concat(const struct kernel_call *c, const struct kernel_team *t, struct error *err) {
    struct tensor *out = c->out[0];
    int axis;
    int64_t at = 0;
    (void)t;
    TRY(ref_axis(attr_int(c->attrs, "axis", 1), out->rank, &axis, err));
    struct ref_split o = ref_split_at(out, axis);
    size_t size = dtype_size(out->dtype) * (size_t)o.after;
    for (size_t i = 0; i < c->n_in; i++) {
        const struct tensor *in = c->in[i];
        TRY(check_beside_axis(in, out, axis, err));
        int64_t n = in->dims[axis];
        if (n > o.n - at)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "inputs have more than %" PRId64 " elements on the axis", o.n);
        for (int64_t b = 0; b < o.before && n && size; b++)
            memcpy((char *)out->data + (size_t)(b * o.n + at) * size,
                   (const char *)in->data + (size_t)(b * n) * size, (size_t)n * size);
        at += n;
    }
    return at == o.n ? STATUS_OK
                     : error_set(err, STATUS_INVALID_ARGUMENT,
                                 "inputs have %" PRId64 " elements on the axis, output %" PRId64,
                                 at, o.n);
}

REF(Concat, ref_accepts_moved, concat)

static status split(const struct kernel_call *c, const struct kernel_team *t, struct error *err) {
    const struct tensor *in = c->in[0];
    int axis;
    int64_t at = 0;
    (void)t;
    TRY(ref_axis(attr_int(c->attrs, "axis", 0), in->rank, &axis, err));
    struct ref_split s = ref_split_at(in, axis);
    size_t size = dtype_size(in->dtype) * (size_t)s.after;
    for (size_t i = 0; i < c->n_out; i++) {
        struct tensor *out = c->out[i];
        TRY(check_beside_axis(out, in, axis, err));
        int64_t n = out->dims[axis];
        if (n > s.n - at)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "outputs have more than %" PRId64 " elements on the axis", s.n);
        for (int64_t b = 0; b < s.before && n && size; b++)
            memcpy((char *)out->data + (size_t)(b * n) * size,
                   (const char *)in->data + (size_t)(b * s.n + at) * size, (size_t)n * size);
        at += n;
    }
    return STATUS_OK;
}

REF(Split, ref_accepts_moved, split)

/* --- Slice --- */

static bool is_integer(const struct tensor *t) {
    return t->dtype == DTYPE_I64 || t->dtype == DTYPE_I32;
}

/* Element i of list `input`, or of the attribute before opset 10. */
static int64_t slice_value(const struct kernel_call *c, size_t input, const char *name, int64_t i,
                           int64_t fallback) {
    const struct tensor *t = ref_in(c, input);
    size_t n;
    if (t)
        return i < tensor_n_elements(t) ? ref_get_int(t, i) : fallback;
    const int64_t *list = attr_ints(c->attrs, name, &n);
    return list && (size_t)i < n ? list[i] : fallback;
}

static status slice(const struct kernel_call *c, const struct kernel_team *t, struct error *err) {
    const struct tensor *in = c->in[0], *starts = ref_in(c, 1);
    struct tensor *out = c->out[0];
    struct ref_walk w = walk_of(out);
    int64_t first[TENSOR_RANK_MAX] = {0}, step[TENSOR_RANK_MAX], strides[TENSOR_RANK_MAX];
    size_t n = 0;
    (void)t;
    (void)attr_ints(c->attrs, "starts", &n);
    if (starts)
        n = (size_t)tensor_n_elements(starts);
    if (in->rank != out->rank || n > in->rank)
        return error_set(err, STATUS_INVALID_ARGUMENT, "input has rank %d, output %d, %zu starts",
                         in->rank, out->rank, n);
    for (int d = 0; d < in->rank; d++)
        step[d] = 1;
    for (size_t i = 0; i < n; i++) {
        int d;
        TRY(ref_axis(slice_value(c, 3, "axes", (int64_t)i, (int64_t)i), in->rank, &d, err));
        int64_t size = in->dims[d], start = slice_value(c, 1, "starts", (int64_t)i, 0);
        step[d] = slice_value(c, 4, "steps", (int64_t)i, 1);
        start = start < -size ? 0 : start < 0 ? start + size : start;
        int64_t high = step[d] > 0 ? size : size - 1;
        first[d] = start > high ? high : start;
    }
    ref_strides(in, strides);
    for (int d = 0; d < in->rank; d++) {
        int64_t last, n_out = out->dims[d];
        if (n_out > 0 && (__builtin_mul_overflow(n_out - 1, step[d], &last) ||
                          __builtin_add_overflow(last, first[d], &last) || last < 0 ||
                          last >= in->dims[d] || first[d] < 0 || first[d] >= in->dims[d]))
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "%" PRId64 " elements from %" PRId64 " by %" PRId64
                             " do not lie in dim %d of %" PRId64,
                             n_out, first[d], step[d], d, in->dims[d]);
        w.offset[1] += n_out > 0 ? first[d] * strides[d] : 0;
        w.strides[1][d] = n_out > 1 ? step[d] * strides[d] : 0;
    }
    ref_walk_copy(&w, out->data, in->data, dtype_size(out->dtype));
    return STATUS_OK;
}

static bool accepts_slice(const struct kernel_call *c) {
    for (size_t i = 1; i < c->n_in; i++)
        if (c->in[i] && !is_integer(c->in[i]))
            return false;
    return ref_accepts_moved(c);
}

REF(Slice, accepts_slice, slice)

/* --- Expand, Tile --- */

static status expand(const struct kernel_call *c, const struct kernel_team *t, struct error *err) {
    struct tensor *out = c->out[0];
    const struct tensor *operands[] = {out, c->in[0]};
    struct ref_walk w;
    (void)t;
    TRY(ref_walk_broadcast(&w, out, operands, 2, err));
    ref_walk_copy(&w, out->data, c->in[0]->data, dtype_size(out->dtype));
    return STATUS_OK;
}

REF(Expand, ref_accepts_moved, expand)

static status tile(const struct kernel_call *c, const struct kernel_team *t, struct error *err) {
    const struct tensor *in = c->in[0];
    struct tensor *out = c->out[0];
    int64_t strides[TENSOR_RANK_MAX];
    size_t size = dtype_size(out->dtype);
    (void)t;
    if (in->rank != out->rank)
        return error_set(err, STATUS_INVALID_ARGUMENT, "input has rank %d, output %d", in->rank,
                         out->rank);
    for (int d = 0; d < in->rank; d++)
        if (in->dims[d] == 0 ? out->dims[d] != 0 : out->dims[d] % in->dims[d] != 0)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "output dim %d is %" PRId64 ", input has %" PRId64, d, out->dims[d],
                             in->dims[d]);
    ref_strides(in, strides);
    if (tensor_n_elements(out) == 0)
        return STATUS_OK;
    if (out->rank == 0)
        return ref_copy(c, t, err);
    int last = out->rank - 1;
    int64_t n = in->dims[last], n_out = out->dims[last];
    struct ref_walk w = walk_of(out);
    for (char *to = out->data; !w.is_done; ref_walk_next_row(&w)) {
        int64_t from = 0;
        for (int d = 0; d < last; d++)
            from += w.index[d] % in->dims[d] * strides[d];
        for (int64_t i = 0; i < n_out; i += n, to += (size_t)n * size)
            memcpy(to, (const char *)in->data + (size_t)from * size, (size_t)n * size);
    }
    return STATUS_OK;
}

REF(Tile, ref_accepts_moved, tile)

/* --- DepthToSpace, SpaceToDepth: transposes of blocks --- */

/* Reads `from` as dims[6] in row-major order and writes it to `to` in the order of perm. */
static void permute6(void *to, const void *from, size_t size, const int64_t dims[6],
                     const int perm[6]) {
    struct ref_walk w = {.rank = 6, .n_operands = 2};
    int64_t strides[6], s = 1;
    for (int i = 5; i >= 0; i--) {
        strides[i] = s;
        s *= dims[i];
    }
    w.is_done = s == 0;
    s = 1;
    for (int i = 5; i >= 0; i--) {
        w.dims[i] = dims[perm[i]];
        w.strides[1][i] = strides[perm[i]];
        w.strides[0][i] = s;
        s *= w.dims[i];
    }
    ref_walk_copy(&w, to, from, size);
}

static status depth_to_space(const struct kernel_call *c, const struct kernel_team *t,
                             struct error *err) {
    static const int dcr[6] = {0, 3, 4, 1, 5, 2}, crd[6] = {0, 1, 4, 2, 5, 3};
    const struct tensor *in = c->in[0];
    int64_t b = attr_int(c->attrs, "blocksize", 1);
    bool is_crd = str_eq_c(attr_string(c->attrs, "mode", "DCR"), "CRD");
    const int64_t *d = in->dims, channels = b ? d[1] / b / b : 0;
    const int64_t wanted[4] = {d[0], channels, d[2] * b, d[3] * b};
    const int64_t as_dcr[6] = {d[0], b, b, channels, d[2], d[3]};
    const int64_t as_crd[6] = {d[0], channels, b, b, d[2], d[3]};
    (void)t;
    TRY(ref_want_dims("output", c->out[0], wanted, 4, err));
    if (channels * b * b != d[1])
        return error_set(err, STATUS_INVALID_ARGUMENT, "%" PRId64 " channels, blocksize %" PRId64,
                         d[1], b);
    permute6(c->out[0]->data, in->data, dtype_size(in->dtype), is_crd ? as_crd : as_dcr,
             is_crd ? crd : dcr);
    return STATUS_OK;
}

REF(DepthToSpace, ref_accepts_moved, depth_to_space)

static status space_to_depth(const struct kernel_call *c, const struct kernel_team *t,
                             struct error *err) {
    static const int dcr[6] = {0, 3, 5, 1, 2, 4}, crd[6] = {0, 1, 3, 5, 2, 4};
    bool is_crd = str_eq_c(attr_string(c->attrs, "mode", "DCR"), "CRD"); /* opset 28 */
    const struct tensor *in = c->in[0];
    const int64_t *d = in->dims, b = attr_int(c->attrs, "blocksize", 1);
    (void)t;
    if (b < 1 || in->rank != 4 || d[2] % b || d[3] % b)
        return error_set(err, STATUS_INVALID_ARGUMENT, "blocksize %" PRId64 " does not divide", b);
    const int64_t wanted[4] = {d[0], d[1] * b * b, d[2] / b, d[3] / b};
    const int64_t dims[6] = {d[0], d[1], d[2] / b, b, d[3] / b, b};
    TRY(ref_want_dims("output", c->out[0], wanted, 4, err));
    permute6(c->out[0]->data, in->data, dtype_size(in->dtype), dims, is_crd ? crd : dcr);
    return STATUS_OK;
}

REF(SpaceToDepth, ref_accepts_moved, space_to_depth)

/* --- Trilu, ReverseSequence --- */

static status trilu(const struct kernel_call *c, const struct kernel_team *t, struct error *err) {
    const struct tensor *in = c->in[0], *shift = ref_in(c, 1);
    struct tensor *out = c->out[0];
    bool is_upper = attr_int(c->attrs, "upper", 1) != 0;
    TRY(ref_want_dims("input", in, out->dims, out->rank, err));
    if (in->rank < 2 || (shift && tensor_n_elements(shift) != 1))
        return error_set(err, STATUS_INVALID_ARGUMENT, "input has rank %d", in->rank);
    TRY(ref_copy(c, t, err));
    int64_t rows = out->dims[out->rank - 2], columns = out->dims[out->rank - 1];
    int64_t k = shift ? ref_get_int(shift, 0) : 0, n = tensor_n_elements(out);
    k = k > columns ? columns : k < -rows ? -rows : k;
    size_t size = dtype_size(out->dtype);
    for (int64_t row = 0; columns && row < n / columns; row++) {
        int64_t diagonal = row % rows + k; /* upper keeps columns from here on */
        int64_t edge = is_upper ? diagonal : diagonal + 1;
        edge = edge < 0 ? 0 : edge > columns ? columns : edge;
        char *p = (char *)out->data + (size_t)(row * columns) * size;
        if (is_upper)
            memset(p, 0, (size_t)edge * size);
        else
            memset(p + (size_t)edge * size, 0, (size_t)(columns - edge) * size);
    }
    return STATUS_OK;
}

REF(Trilu, ref_accepts_moved, trilu)

static status reverse_sequence(const struct kernel_call *c, const struct kernel_team *t,
                               struct error *err) {
    const struct tensor *in = c->in[0], *lengths = c->in[1];
    struct tensor *out = c->out[0];
    int time_axis = attr_int(c->attrs, "time_axis", 0) != 0;
    (void)t;
    TRY(ref_want_dims("input", in, out->dims, out->rank, err));
    if (in->rank < 2 || tensor_n_elements(lengths) != in->dims[!time_axis])
        return error_set(err, STATUS_INVALID_ARGUMENT, "sequence_lens do not fit the batch");
    int64_t n_time = in->dims[time_axis], n_batch = in->dims[!time_axis];
    int64_t st = time_axis ? 1 : n_batch, sb = time_axis ? n_time : 1;
    size_t size = dtype_size(in->dtype) * (size_t)dims_product(in->dims + 2, in->rank - 2u);
    for (int64_t b = 0; b < n_batch; b++) {
        int64_t length = ref_get_int(lengths, b);
        if (length < 0 || length > n_time)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "sequence_lens[%" PRId64 "] is %" PRId64 ", wanted 0 to %" PRId64, b,
                             length, n_time);
        for (int64_t i = 0; i < n_time; i++) {
            int64_t from = i < length ? length - 1 - i : i;
            memcpy((char *)out->data + (size_t)(b * sb + i * st) * size,
                   (const char *)in->data + (size_t)(b * sb + from * st) * size, size);
        }
    }
    return STATUS_OK;
}

REF(ReverseSequence, ref_accepts_moved, reverse_sequence)
