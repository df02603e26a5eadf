/* Operators that take or put elements by index. Every index is checked before it is used. */
#include <inttypes.h>

#include "kernels/ref/ref_internal.h"

/* An index within -n .. n - 1 as 0 .. n - 1. */
static status index_at(const struct tensor *indices, int64_t i, int64_t n, int64_t *out,
                       struct error *err) {
    int64_t v = ref_get_int(indices, i);
    if (v < -n || v >= n)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "index %" PRId64 " is %" PRId64 ", wanted %" PRId64 " to %" PRId64, i, v,
                         -n, n - 1);
    *out = v < 0 ? v + n : v;
    return STATUS_OK;
}

static bool accepts_indices(const struct kernel_call *c) {
    return ref_accepts_moved(c) && (c->in[1]->dtype == DTYPE_I64 || c->in[1]->dtype == DTYPE_I32);
}

static status gather(const struct kernel_call *c, const struct kernel_team *t, struct error *err) {
    const struct tensor *in = c->in[0], *indices = c->in[1];
    struct tensor *out = c->out[0];
    int axis;
    (void)t;
    TRY(ref_axis(attr_int(c->attrs, "axis", 0), in->rank, &axis, err));
    struct ref_split s = ref_split_at(in, axis);
    int64_t n = tensor_n_elements(indices);
    size_t size = dtype_size(in->dtype) * (size_t)s.after;
    if ((size_t)s.before * (size_t)n * size != out->size)
        return error_set(err, STATUS_INVALID_ARGUMENT, "output has %zu bytes, wanted %zu",
                         out->size, (size_t)s.before * (size_t)n * size);
    for (int64_t i = 0; i < n; i++) {
        int64_t at = 0;
        TRY(index_at(indices, i, s.n, &at, err));
        for (int64_t b = 0; b < s.before && size; b++)
            memcpy((char *)out->data + (size_t)(b * n + i) * size,
                   (const char *)in->data + (size_t)(b * s.n + at) * size, size);
    }
    return STATUS_OK;
}

REF(Gather, accepts_indices, gather)

/* Offset in `t` of row-major position i of `block` (of the same rank), with `axis` left out. */
static int64_t offset_beside(const struct tensor *block, int64_t i, const int64_t *strides,
                             int axis) {
    int64_t offset = 0;
    for (int d = block->rank - 1; d >= 0; d--) {
        int64_t at = i % block->dims[d];
        i /= block->dims[d];
        offset += d == axis ? 0 : at * strides[d];
    }
    return offset;
}

/* `block` lies within `t` in every dim but `axis`. */
static status check_block(const struct tensor *block, const struct tensor *t, int axis,
                          struct error *err) {
    bool fits = block->rank == t->rank;
    for (int d = 0; fits && d < t->rank; d++)
        fits = d == axis || block->dims[d] <= t->dims[d];
    if (fits)
        return STATUS_OK;
    char a[DIMS_TEXT_SIZE], b[DIMS_TEXT_SIZE];
    return error_set(err, STATUS_INVALID_ARGUMENT, "indices %s do not fit data %s",
                     dims_format(block->dims, block->rank, a), dims_format(t->dims, t->rank, b));
}

static status gather_elements(const struct kernel_call *c, const struct kernel_team *t,
                              struct error *err) {
    const struct tensor *in = c->in[0], *indices = c->in[1];
    struct tensor *out = c->out[0];
    int64_t strides[TENSOR_RANK_MAX];
    int axis;
    (void)t;
    TRY(ref_axis(attr_int(c->attrs, "axis", 0), in->rank, &axis, err));
    TRY(check_block(indices, in, axis, err));
    TRY(ref_want_dims("output", out, indices->dims, indices->rank, err));
    ref_strides(in, strides);
    size_t size = dtype_size(in->dtype);
    for (int64_t i = 0, n = tensor_n_elements(indices); i < n; i++) {
        int64_t at = 0;
        TRY(index_at(indices, i, in->dims[axis], &at, err));
        at = at * strides[axis] + offset_beside(indices, i, strides, axis);
        memcpy((char *)out->data + (size_t)i * size, (const char *)in->data + (size_t)at * size,
               size);
    }
    return STATUS_OK;
}

REF(GatherElements, accepts_indices, gather_elements)

/* Offset of the slice that index tuple i points at. */
static status tuple_offset(const struct tensor *indices, int64_t i, int64_t depth,
                           const int64_t *dims, const int64_t *strides, int64_t *out,
                           struct error *err) {
    *out = 0;
    for (int64_t d = 0; d < depth; d++) {
        int64_t at = 0;
        TRY(index_at(indices, i * depth + d, dims[d], &at, err));
        *out += at * strides[d];
    }
    return STATUS_OK;
}

static status gather_nd(const struct kernel_call *c, const struct kernel_team *t,
                        struct error *err) {
    const struct tensor *in = c->in[0], *indices = c->in[1];
    struct tensor *out = c->out[0];
    int64_t strides[TENSOR_RANK_MAX], batch = attr_int(c->attrs, "batch_dims", 0);
    int64_t depth = indices->rank ? indices->dims[indices->rank - 1] : 0;
    (void)t;
    if (batch < 0 || depth < 1 || batch >= indices->rank || batch + depth > in->rank)
        return error_set(err, STATUS_INVALID_ARGUMENT, "indices of %" PRId64 " do not fit", depth);
    for (int64_t i = 0; i < batch; i++)
        if (in->dims[i] != indices->dims[i])
            return error_set(err, STATUS_INVALID_ARGUMENT, "batch dim %" PRId64 " differs", i);
    ref_strides(in, strides);
    int64_t slice = strides[batch + depth - 1], n = tensor_n_elements(indices) / depth;
    int64_t n_batches = dims_product(in->dims, (size_t)batch);
    int64_t n_each = n_batches ? n / n_batches : 0;
    int64_t whole = dims_product(in->dims + batch, (size_t)(in->rank - batch));
    size_t size = dtype_size(in->dtype) * (size_t)slice;
    if ((size_t)n * size != out->size)
        return error_set(err, STATUS_INVALID_ARGUMENT, "output has %zu bytes, wanted %zu",
                         out->size, (size_t)n * size);
    for (int64_t i = 0; i < n && size; i++) {
        int64_t at = 0;
        TRY(tuple_offset(indices, i, depth, in->dims + batch, strides + batch, &at, err));
        at += i / n_each * whole;
        memcpy((char *)out->data + (size_t)i * size,
               (const char *)in->data + (size_t)at * dtype_size(in->dtype), size);
    }
    return STATUS_OK;
}

REF(GatherND, accepts_indices, gather_nd)

/* --- scatter --- */

typedef enum reduction {
    REDUCTION_NONE,
    REDUCTION_ADD,
    REDUCTION_MUL,
    REDUCTION_MAX,
    REDUCTION_MIN
} reduction;

static bool reduction_of(const struct kernel_call *c, reduction *out) {
    static const char *const names[] = {"none", "add", "mul", "max", "min"};
    str s = attr_string(c->attrs, "reduction", "none");
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (str_eq_c(s, names[i])) {
            *out = (reduction)i;
            return true;
        }
    return false;
}

#define REDUCE(T, x, y)                                                                            \
    (r == REDUCTION_ADD   ? (T)((x) + (y))                                                         \
     : r == REDUCTION_MUL ? (T)((x) * (y))                                                         \
     : r == REDUCTION_MAX ? ((x) > (y) ? (x) : (y))                                                \
                          : ((x) < (y) ? (x) : (y)))

/* out[at] = out[at] r from[i], for n elements. */
static void put(struct tensor *out, int64_t at, const struct tensor *from, int64_t i, int64_t n,
                reduction r) {
    size_t size = dtype_size(out->dtype);
    if (r == REDUCTION_NONE) {
        memcpy((char *)out->data + (size_t)at * size, (const char *)from->data + (size_t)i * size,
               (size_t)n * size);
        return;
    }
    for (int64_t k = 0; k < n; k++) {
        if (dtype_is_float(out->dtype)) {
            double x = ref_get(out, at + k), y = ref_get(from, i + k);
            ref_set(out, at + k, REDUCE(double, x, y));
        } else if (out->dtype == DTYPE_U64 || r < REDUCTION_MAX) {
            uint64_t x = (uint64_t)ref_get_int(out, at + k), y = (uint64_t)ref_get_int(from, i + k);
            ref_set_int(out, at + k, (int64_t)REDUCE(uint64_t, x, y));
        } else {
            int64_t x = ref_get_int(out, at + k), y = ref_get_int(from, i + k);
            ref_set_int(out, at + k, r == REDUCTION_MAX ? (x > y ? x : y) : (x < y ? x : y));
        }
    }
}

static bool accepts_scatter(const struct kernel_call *c) {
    reduction r;
    return accepts_indices(c) && c->in[0]->dtype == c->in[2]->dtype && reduction_of(c, &r);
}

static status scatter_elements(const struct kernel_call *c, const struct kernel_team *t,
                               struct error *err) {
    const struct tensor *indices = c->in[1], *updates = c->in[2];
    struct tensor *out = c->out[0];
    int64_t strides[TENSOR_RANK_MAX];
    reduction r = REDUCTION_NONE;
    int axis;
    TRY(ref_copy(c, t, err));
    TRY(ref_axis(attr_int(c->attrs, "axis", 0), out->rank, &axis, err));
    TRY(check_block(indices, out, axis, err));
    TRY(ref_want_dims("updates", updates, indices->dims, indices->rank, err));
    (void)reduction_of(c, &r);
    ref_strides(out, strides);
    for (int64_t i = 0, n = tensor_n_elements(indices); i < n; i++) {
        int64_t at = 0;
        TRY(index_at(indices, i, out->dims[axis], &at, err));
        put(out, at * strides[axis] + offset_beside(indices, i, strides, axis), updates, i, 1, r);
    }
    return STATUS_OK;
}

REF(Scatter, accepts_scatter, scatter_elements)
REF(ScatterElements, accepts_scatter, scatter_elements)

static status scatter_nd(const struct kernel_call *c, const struct kernel_team *t,
                         struct error *err) {
    const struct tensor *indices = c->in[1], *updates = c->in[2];
    struct tensor *out = c->out[0];
    int64_t strides[TENSOR_RANK_MAX];
    int64_t depth = indices->rank ? indices->dims[indices->rank - 1] : 0;
    reduction r = REDUCTION_NONE;
    TRY(ref_copy(c, t, err));
    (void)reduction_of(c, &r);
    if (depth < 1 || depth > out->rank)
        return error_set(err, STATUS_INVALID_ARGUMENT, "indices of %" PRId64 " do not fit", depth);
    ref_strides(out, strides);
    int64_t slice = strides[depth - 1], n = tensor_n_elements(indices) / depth;
    if (tensor_n_elements(updates) != n * slice)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "updates have %" PRId64 " elements, wanted %" PRId64,
                         tensor_n_elements(updates), n * slice);
    for (int64_t i = 0; i < n && slice; i++) {
        int64_t at = 0;
        TRY(tuple_offset(indices, i, depth, out->dims, strides, &at, err));
        put(out, at, updates, i * slice, slice, r);
    }
    return STATUS_OK;
}

REF(ScatterND, accepts_scatter, scatter_nd)

static status compress(const struct kernel_call *c, const struct kernel_team *t,
                       struct error *err) {
    const struct tensor *in = c->in[0], *condition = c->in[1];
    struct tensor *out = c->out[0];
    bool has_axis = attr_find(c->attrs, "axis") != NULL;
    struct ref_split s = {.before = 1, .n = tensor_n_elements(in), .after = 1};
    int axis = 0;
    int64_t n_kept = 0, n_max = out->dims[0];
    (void)t;
    if (has_axis) {
        TRY(ref_axis(attr_int(c->attrs, "axis", 0), in->rank, &axis, err));
        s = ref_split_at(in, axis);
        n_max = out->dims[axis];
    }
    const uint8_t *keep = condition->data;
    int64_t n = tensor_n_elements(condition);
    n = n < s.n ? n : s.n;
    for (int64_t i = 0; i < n; i++)
        n_kept += keep[i] != 0;
    if (n_kept > n_max)
        return error_set(err, STATUS_INVALID_ARGUMENT, "keeps %" PRId64 " of at most %" PRId64,
                         n_kept, n_max);
    size_t size = dtype_size(in->dtype) * (size_t)s.after;
    char *to = out->data;
    for (int64_t b = 0; b < s.before && size; b++)
        for (int64_t i = 0; i < n; i++)
            if (keep[i]) {
                memcpy(to, (const char *)in->data + (size_t)(b * s.n + i) * size, size);
                to += size;
            }
    out->dims[axis] = n_kept;
    return STATUS_OK;
}

static bool accepts_compress(const struct kernel_call *c) {
    return ref_accepts_moved(c) && c->in[1]->dtype == DTYPE_BOOL;
}

REF(Compress, accepts_compress, compress)
