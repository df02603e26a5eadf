#include "kernels/ref/ref_internal.h"

#include <inttypes.h>

static bool is_fixed(const struct tensor *t) {
    return !t || dtype_size(t->dtype) > 0;
}

/* Where an operand may be left out is the operator's business (min_in), but for lists of any
 * length, which have no gaps, and for the first output, which only TopK can do without. */
static bool has_operands(const struct kernel_call *c) {
    const struct op *op = op_get(c->op);
    bool is_complete = c->n_out > 0 && (c->out[0] || c->op == OP_TopK);
    for (size_t i = 0; i < c->n_in; i++)
        is_complete &= c->in[i] || (i >= op->min_in && op->max_in != OP_VARIADIC);
    for (size_t i = 0; i < c->n_out; i++)
        is_complete &= c->out[i] || op->max_out != OP_VARIADIC;
    return is_complete && c->n_in >= op->min_in;
}

bool ref_accepts_any(const struct kernel_call *c) {
    return has_operands(c);
}

bool ref_accepts_fixed(const struct kernel_call *c) {
    if (!has_operands(c))
        return false;
    for (size_t i = 0; i < c->n_in; i++)
        if (!is_fixed(c->in[i]))
            return false;
    for (size_t i = 0; i < c->n_out; i++)
        if (!is_fixed(c->out[i]))
            return false;
    return true;
}

bool ref_accepts_moved(const struct kernel_call *c) {
    if (!ref_accepts_fixed(c))
        return false;
    bool is_list = op_get(c->op)->max_in == OP_VARIADIC;
    for (size_t i = 1; i < c->n_in && is_list; i++)
        if (c->in[i]->dtype != c->in[0]->dtype)
            return false;
    for (size_t i = 0; i < c->n_out; i++)
        if (c->out[i] && c->out[i]->dtype != c->in[0]->dtype)
            return false;
    return true;
}

bool ref_accepts_number(const struct kernel_call *c) {
    return ref_accepts_fixed(c) &&
           (dtype_is_float(c->in[0]->dtype) || dtype_is_integer(c->in[0]->dtype));
}

bool ref_accepts_float(const struct kernel_call *c) {
    return ref_accepts_fixed(c) && dtype_is_float(c->in[0]->dtype);
}

bool ref_accepts_integer(const struct kernel_call *c) {
    return ref_accepts_fixed(c) && dtype_is_integer(c->in[0]->dtype);
}

bool ref_accepts_bool(const struct kernel_call *c) {
    return ref_accepts_fixed(c) && c->in[0]->dtype == DTYPE_BOOL;
}

wide ref_wide(dtype t) {
    if (t == DTYPE_F64)
        return WIDE_F64;
    if (dtype_is_float(t))
        return WIDE_F32;
    return t == DTYPE_U64 ? WIDE_U64 : WIDE_I64;
}

/* One case per dtype and wide type. Integers wrap, floats narrow by rounding to nearest even. */
#define LOAD_AS(member, T)                                                                         \
    if (stride == 1)                                                                               \
        for (int64_t i = 0; i < n; i++)                                                            \
            to->member[i] = (__typeof__(to->member[0]))((const T *)t->data)[start + i];            \
    else                                                                                           \
        for (int64_t i = 0; i < n; i++)                                                            \
            to->member[i] = (__typeof__(to->member[0]))((const T *)t->data)[start + i * stride];   \
    return;
#define LOAD_HALF(member, function)                                                                \
    for (int64_t i = 0; i < n; i++)                                                                \
        to->member[i] =                                                                            \
            (__typeof__(to->member[0]))function(((const uint16_t *)t->data)[start + i * stride]);  \
    return;
#define LOAD(member)                                                                               \
    switch (t->dtype) {                                                                            \
    case DTYPE_F32:                                                                                \
        LOAD_AS(member, float)                                                                     \
    case DTYPE_F64:                                                                                \
        LOAD_AS(member, double)                                                                    \
    case DTYPE_F16:                                                                                \
        LOAD_HALF(member, f16_to_f32)                                                              \
    case DTYPE_BF16:                                                                               \
        LOAD_HALF(member, bf16_to_f32)                                                             \
    case DTYPE_U8:                                                                                 \
    case DTYPE_BOOL:                                                                               \
        LOAD_AS(member, uint8_t)                                                                   \
    case DTYPE_I8:                                                                                 \
        LOAD_AS(member, int8_t)                                                                    \
    case DTYPE_U16:                                                                                \
        LOAD_AS(member, uint16_t)                                                                  \
    case DTYPE_I16:                                                                                \
        LOAD_AS(member, int16_t)                                                                   \
    case DTYPE_U32:                                                                                \
        LOAD_AS(member, uint32_t)                                                                  \
    case DTYPE_I32:                                                                                \
        LOAD_AS(member, int32_t)                                                                   \
    case DTYPE_U64:                                                                                \
        LOAD_AS(member, uint64_t)                                                                  \
    case DTYPE_I64:                                                                                \
        LOAD_AS(member, int64_t)                                                                   \
    case DTYPE_NONE:                                                                               \
    case DTYPE_BYTES:                                                                              \
    case DTYPE_COUNT:                                                                              \
        break;                                                                                     \
    }

static void load_f32(union ref_chunk *to, const struct tensor *t, int64_t start, int64_t stride,
                     int64_t n) {
    LOAD(f32)
}
static void load_f64(union ref_chunk *to, const struct tensor *t, int64_t start, int64_t stride,
                     int64_t n) {
    LOAD(f64)
}
static void load_i64(union ref_chunk *to, const struct tensor *t, int64_t start, int64_t stride,
                     int64_t n) {
    LOAD(i64)
}

void ref_load(union ref_chunk *to, wide w, const struct tensor *t, int64_t start, int64_t stride,
              int64_t n) {
    if (w == WIDE_F32)
        load_f32(to, t, start, stride, n);
    else if (w == WIDE_F64)
        load_f64(to, t, start, stride, n);
    else /* u64 has the bits of i64 */
        load_i64(to, t, start, stride, n);
}

#define STORE_AS(member, T)                                                                        \
    if (stride == 1)                                                                               \
        for (int64_t i = 0; i < n; i++)                                                            \
            ((T *)t->data)[start + i] = (T)from->member[i];                                        \
    else                                                                                           \
        for (int64_t i = 0; i < n; i++)                                                            \
            ((T *)t->data)[start + i * stride] = (T)from->member[i];                               \
    return;
#define STORE_HALF(member, function)                                                               \
    for (int64_t i = 0; i < n; i++)                                                                \
        ((uint16_t *)t->data)[start + i * stride] = function((float)from->member[i]);              \
    return;
#define STORE_BOOL(member)                                                                         \
    for (int64_t i = 0; i < n; i++)                                                                \
        ((uint8_t *)t->data)[start + i * stride] = from->member[i] != 0;                           \
    return;
#define STORE_FLOATS(member)                                                                       \
    case DTYPE_F32:                                                                                \
        STORE_AS(member, float)                                                                    \
    case DTYPE_F64:                                                                                \
        STORE_AS(member, double)                                                                   \
    case DTYPE_F16:                                                                                \
        STORE_HALF(member, f16_from_f32)                                                           \
    case DTYPE_BF16:                                                                               \
        STORE_HALF(member, bf16_from_f32)                                                          \
    case DTYPE_BOOL:                                                                               \
        STORE_BOOL(member)                                                                         \
    case DTYPE_NONE:                                                                               \
    case DTYPE_BYTES:                                                                              \
    case DTYPE_COUNT:                                                                              \
        break;
#define STORE_INTS(member)                                                                         \
    case DTYPE_U8:                                                                                 \
        STORE_AS(member, uint8_t)                                                                  \
    case DTYPE_I8:                                                                                 \
        STORE_AS(member, int8_t)                                                                   \
    case DTYPE_U16:                                                                                \
        STORE_AS(member, uint16_t)                                                                 \
    case DTYPE_I16:                                                                                \
        STORE_AS(member, int16_t)                                                                  \
    case DTYPE_U32:                                                                                \
        STORE_AS(member, uint32_t)                                                                 \
    case DTYPE_I32:                                                                                \
        STORE_AS(member, int32_t)                                                                  \
    case DTYPE_U64:                                                                                \
        STORE_AS(member, uint64_t)                                                                 \
    case DTYPE_I64:                                                                                \
        STORE_AS(member, int64_t)

static void store_i64(struct tensor *t, int64_t start, int64_t stride, int64_t n,
                      const union ref_chunk *from) {
    switch (t->dtype) {
        STORE_INTS(i64)
        STORE_FLOATS(i64)
    }
}

static void store_u64(struct tensor *t, int64_t start, int64_t stride, int64_t n,
                      const union ref_chunk *from) {
    switch (t->dtype) {
        STORE_INTS(u64)
        STORE_FLOATS(u64)
    }
}

/* A float that its integer cannot hold saturates; plain C leaves that undefined. */
static int64_t saturate(double v, dtype t) {
    static const double low[DTYPE_COUNT] = {[DTYPE_I8] = INT8_MIN,
                                            [DTYPE_I16] = INT16_MIN,
                                            [DTYPE_I32] = INT32_MIN,
                                            [DTYPE_I64] = (double)INT64_MIN};
    static const int64_t high[DTYPE_COUNT] = {
        [DTYPE_U8] = UINT8_MAX,  [DTYPE_I8] = INT8_MAX,    [DTYPE_U16] = UINT16_MAX,
        [DTYPE_I16] = INT16_MAX, [DTYPE_U32] = UINT32_MAX, [DTYPE_I32] = INT32_MAX,
        [DTYPE_U64] = INT64_MAX, [DTYPE_I64] = INT64_MAX};
    if (!(v > low[t])) /* NaN too */
        return v == v ? (low[t] == (double)INT64_MIN ? INT64_MIN : (int64_t)low[t]) : 0;
    return v >= (double)high[t] ? high[t] : (int64_t)v;
}

static void store_f64(struct tensor *t, int64_t start, int64_t stride, int64_t n,
                      const union ref_chunk *from) {
    if (dtype_is_integer(t->dtype)) {
        union ref_chunk ints;
        for (int64_t i = 0; i < n; i++)
            ints.i64[i] = saturate(from->f64[i], t->dtype);
        store_i64(t, start, stride, n, &ints);
        return;
    }
    switch (t->dtype) {
        STORE_FLOATS(f64)
    default:
        break;
    }
}

static void store_f32(struct tensor *t, int64_t start, int64_t stride, int64_t n,
                      const union ref_chunk *from) {
    if (dtype_is_integer(t->dtype)) {
        union ref_chunk ints;
        for (int64_t i = 0; i < n; i++)
            ints.i64[i] = saturate((double)from->f32[i], t->dtype);
        store_i64(t, start, stride, n, &ints);
        return;
    }
    switch (t->dtype) {
        STORE_FLOATS(f32)
    default:
        break;
    }
}

void ref_store(struct tensor *t, int64_t start, int64_t stride, int64_t n, wide w,
               const union ref_chunk *from) {
    if (w == WIDE_F32)
        store_f32(t, start, stride, n, from);
    else if (w == WIDE_F64)
        store_f64(t, start, stride, n, from);
    else if (w == WIDE_I64)
        store_i64(t, start, stride, n, from);
    else
        store_u64(t, start, stride, n, from);
}

double ref_get_any(const struct tensor *t, int64_t i) {
    union ref_chunk c;
    c.f64[0] = 0; /* BYTES are no numbers */
    load_f64(&c, t, i, 0, 1);
    return c.f64[0];
}

int64_t ref_get_int_any(const struct tensor *t, int64_t i) {
    union ref_chunk c;
    c.i64[0] = 0;
    load_i64(&c, t, i, 0, 1);
    return c.i64[0];
}

void ref_set(struct tensor *t, int64_t i, double v) {
    if (t->dtype == DTYPE_F32) {
        ((float *)t->data)[i] = (float)v;
        return;
    }
    union ref_chunk c;
    c.f64[0] = v;
    store_f64(t, i, 0, 1, &c);
}

void ref_set_int(struct tensor *t, int64_t i, int64_t v) {
    union ref_chunk c;
    c.i64[0] = v;
    store_i64(t, i, 0, 1, &c);
}

void ref_strides(const struct tensor *t, int64_t strides[TENSOR_RANK_MAX]) {
    int64_t s = 1;
    for (int i = t->rank - 1; i >= 0; i--) {
        strides[i] = s;
        s *= t->dims[i];
    }
}

status ref_walk_broadcast(struct ref_walk *w, const struct tensor *out,
                          const struct tensor *const *tensors, size_t n, struct error *err) {
    *w = (struct ref_walk){.rank = out->rank, .n_operands = n};
    memcpy(w->dims, out->dims, out->rank * sizeof *w->dims);
    w->is_done = tensor_n_elements(out) <= 0;
    for (size_t i = 0; i < n; i++) {
        int64_t strides[TENSOR_RANK_MAX];
        const struct tensor *t = tensors[i];
        ref_strides(t, strides);
        for (int d = out->rank - 1, s = t->rank - 1; s >= 0; d--, s--) {
            char a[DIMS_TEXT_SIZE], b[DIMS_TEXT_SIZE];
            if (d < 0 ? t->dims[s] != 1 : t->dims[s] != 1 && t->dims[s] != out->dims[d])
                return error_set(err, STATUS_INVALID_ARGUMENT, "%s does not broadcast to %s",
                                 dims_format(t->dims, t->rank, a),
                                 dims_format(out->dims, out->rank, b));
            if (d >= 0)
                w->strides[i][d] = t->dims[s] == 1 ? 0 : strides[s];
        }
    }
    ref_walk_merge(w);
    return STATUS_OK;
}

void ref_walk_merge(struct ref_walk *w) {
    int out = 0;
    if (w->rank == 0) {
        w->rank = 1;
        w->dims[0] = 1;
        for (size_t k = 0; k < w->n_operands; k++)
            w->strides[k][0] = 0;
        return;
    }
    for (int i = 1; i < w->rank; i++) {
        if (w->dims[i] == 1) /* walked by nobody, whatever its stride */
            continue;
        bool is_alike = true;
        for (size_t k = 0; k < w->n_operands; k++)
            is_alike &= w->strides[k][out] == w->strides[k][i] * w->dims[i] || w->dims[out] == 1;
        if (!is_alike)
            out++;
        w->dims[out] = is_alike ? w->dims[out] * w->dims[i] : w->dims[i];
        for (size_t k = 0; k < w->n_operands; k++)
            w->strides[k][out] = w->strides[k][i];
    }
    w->rank = out + 1;
}

void ref_walk_seek(struct ref_walk *w, int64_t row) {
    memset(w->offset, 0, sizeof w->offset);
    for (int d = w->rank - 2; d >= 0; d--) {
        w->index[d] = row % w->dims[d];
        row /= w->dims[d];
        for (size_t k = 0; k < w->n_operands; k++)
            w->offset[k] += w->index[d] * w->strides[k][d];
    }
    w->is_done |= row > 0;
}

void ref_walk_next_row(struct ref_walk *w) {
    for (int d = w->rank - 2; d >= 0; d--) {
        for (size_t k = 0; k < w->n_operands; k++)
            w->offset[k] += w->strides[k][d];
        if (++w->index[d] < w->dims[d])
            return;
        for (size_t k = 0; k < w->n_operands; k++)
            w->offset[k] -= w->strides[k][d] * w->dims[d];
        w->index[d] = 0;
    }
    w->is_done = true;
}

void ref_walk_copy(struct ref_walk *w, void *to, const void *from, size_t size) {
    ref_walk_merge(w);
    int last = w->rank - 1;
    int64_t n = w->dims[last], so = w->strides[0][last], si = w->strides[1][last];
    for (; !w->is_done; ref_walk_next_row(w)) {
        char *o = (char *)to + w->offset[0] * (int64_t)size;
        const char *i = (const char *)from + w->offset[1] * (int64_t)size;
        if (so == 1 && si == 1) {
            memcpy(o, i, (size_t)n * size);
            continue;
        }
#define COPY(T)                                                                                    \
    for (int64_t k = 0; k < n; k++)                                                                \
        ((T *)(void *)o)[k * so] = ((const T *)(const void *)i)[k * si];
        if (size == 1) {
            COPY(uint8_t)
        } else if (size == 2) {
            COPY(uint16_t)
        } else if (size == 4) {
            COPY(uint32_t)
        } else {
            COPY(uint64_t)
        }
#undef COPY
    }
}

struct ref_split ref_split_at(const struct tensor *t, int axis) {
    return (struct ref_split){
        .before = dims_product(t->dims, (size_t)axis),
        .n = t->dims[axis],
        .after = dims_product(t->dims + axis + 1, (size_t)(t->rank - axis - 1)),
    };
}

status ref_axis(int64_t axis, int rank, int *out, struct error *err) {
    if (axis < -rank || axis >= rank)
        return error_set(err, STATUS_INVALID_ARGUMENT, "axis is %" PRId64 ", wanted %d to %d", axis,
                         -rank, rank - 1);
    *out = (int)(axis < 0 ? axis + rank : axis);
    return STATUS_OK;
}

status ref_want_dims(const char *what, const struct tensor *t, const int64_t *dims, int rank,
                     struct error *err) {
    char a[DIMS_TEXT_SIZE], b[DIMS_TEXT_SIZE];
    if (t->rank == rank && memcmp(t->dims, dims, (size_t)rank * sizeof *dims) == 0)
        return STATUS_OK;
    return error_set(err, STATUS_INVALID_ARGUMENT, "%s is %s, wanted %s", what,
                     dims_format(t->dims, t->rank, a), dims_format(dims, (size_t)rank, b));
}

status ref_copy(const struct kernel_call *c, const struct kernel_team *t, struct error *err) {
    const struct tensor *in = c->in[0];
    struct tensor *out = c->out[0];
    (void)t;
    if (in->size != out->size)
        return error_set(err, STATUS_INVALID_ARGUMENT, "input has %zu bytes, output %zu", in->size,
                         out->size);
    if (in->data != out->data && in->size)
        memmove(out->data, in->data, in->size);
    return STATUS_OK;
}
