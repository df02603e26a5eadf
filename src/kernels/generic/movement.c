/* movement.c - Transpose and Gather: the same elements elsewhere. Plain C is as fast as memory. */
#include <string.h>

#include "kernels/kernel.h"

enum { BLOCK = 16 }; /* elements a side of a transposed square: 16 cache lines in, 16 out */

static bool transpose_accepts(const struct kernel_call *c) {
    size_t size = dtype_size(c->in[0]->dtype);
    return size && size <= 8;
}

/* The permutation with axes of size 1 dropped and neighbours that stay neighbours merged. */
struct transpose {
    int rank;
    int64_t dims[TENSOR_RANK_MAX]; /* of the output */
    int64_t step[TENSOR_RANK_MAX]; /* of the input, along each axis of the output; elements */
};

static struct transpose transpose_of(const struct kernel_call *c) {
    const struct tensor *x = c->in[0];
    struct transpose t = {0};
    int64_t step[TENSOR_RANK_MAX], s = 1;
    size_t n;
    const int64_t *perm = attr_ints(c->attrs, "perm", &n);
    for (int d = x->rank - 1; d >= 0; d--) {
        step[d] = s;
        s *= x->dims[d];
    }
    for (int d = 0; d < x->rank; d++) {
        int64_t from = perm && n == x->rank ? perm[d] : x->rank - 1 - d;
        if (x->dims[from] == 1)
            continue;
        if (t.rank && t.step[t.rank - 1] == step[from] * x->dims[from]) {
            t.dims[t.rank - 1] *= x->dims[from];
        } else {
            t.rank++;
            t.dims[t.rank - 1] = x->dims[from];
        }
        t.step[t.rank - 1] = step[from];
    }
    return t;
}

/* to [rows][ld_to] = from [cols][ld_from] transposed. */
#define TRANSPOSE_2D(type)                                                                         \
    static void transpose_##type(const type *from, int64_t ld_from, type *to, int64_t ld_to,       \
                                 int64_t rows, int64_t cols) {                                     \
        for (int64_t i0 = 0; i0 < rows; i0 += BLOCK)                                               \
            for (int64_t j0 = 0; j0 < cols; j0 += BLOCK) {                                         \
                int64_t i1 = i0 + BLOCK < rows ? i0 + BLOCK : rows;                                \
                int64_t j1 = j0 + BLOCK < cols ? j0 + BLOCK : cols;                                \
                for (int64_t i = i0; i < i1; i++)                                                  \
                    for (int64_t j = j0; j < j1; j++)                                              \
                        to[i * ld_to + j] = from[j * ld_from + i];                                 \
            }                                                                                      \
    }
TRANSPOSE_2D(uint8_t)
TRANSPOSE_2D(uint16_t)
TRANSPOSE_2D(uint32_t)
TRANSPOSE_2D(uint64_t)

static void transpose_plane(size_t size, const char *from, int64_t ld_from, char *to, int64_t ld_to,
                            int64_t rows, int64_t cols) {
    switch (size) {
    case 1:
        transpose_uint8_t((const uint8_t *)from, ld_from, (uint8_t *)to, ld_to, rows, cols);
        break;
    case 2:
        transpose_uint16_t((const uint16_t *)from, ld_from, (uint16_t *)to, ld_to, rows, cols);
        break;
    case 4:
        transpose_uint32_t((const uint32_t *)from, ld_from, (uint32_t *)to, ld_to, rows, cols);
        break;
    default:
        transpose_uint64_t((const uint64_t *)from, ld_from, (uint64_t *)to, ld_to, rows, cols);
        break;
    }
}

static status transpose_run(const struct kernel_call *c, const struct kernel_team *team,
                            struct error *err) {
    (void)err;
    const struct tensor *x = c->in[0];
    size_t size = dtype_size(x->dtype);
    struct transpose t = transpose_of(c);
    const char *from = x->data;
    char *to = c->out[0]->data;
    int64_t n = tensor_n_elements(x), out_step[TENSOR_RANK_MAX], s = 1;
    int last = t.rank - 1, unit = -1; /* `unit`: the output's axis along which the input is dense */
    if (n == 0)
        return STATUS_OK;
    for (int d = last; d >= 0; d--) {
        out_step[d] = s;
        s *= t.dims[d];
        if (t.step[d] == 1)
            unit = d;
    }
    if (last <= 0) {
        if (team->thread == 0)
            memcpy(to, from, (size_t)n * size);
        return STATUS_OK;
    }
    /* Axes other than the one or two that a plane covers are walked, shared among threads; the
     * first of them may be split. */
    bool copies = unit == last;
    int64_t rows = t.dims[unit], cols = t.dims[last];
    int64_t planes = copies ? n / cols : n / (rows * cols);
    int64_t first = 0, end = planes, r0 = 0, r1 = rows;
    if (planes >= team->n_threads)
        kernel_share(team, planes, 1, &first, &end);
    else
        kernel_share(team, rows, BLOCK, &r0, &r1);
    if (copies && planes < team->n_threads) {
        r0 = 0;
        r1 = 1;
        if (team->thread)
            return STATUS_OK;
    }
    for (int64_t p = first; p < end; p++) {
        int64_t rest = p, a = 0, b = 0;
        for (int d = last - 1; d >= 0; d--) {
            if (d == unit)
                continue;
            a += rest % t.dims[d] * t.step[d];
            b += rest % t.dims[d] * out_step[d];
            rest /= t.dims[d];
        }
        if (copies)
            memcpy(to + b * (int64_t)size, from + a * (int64_t)size, (size_t)cols * size);
        else
            transpose_plane(size, from + (a + r0) * (int64_t)size, t.step[last],
                            to + (b + r0 * out_step[unit]) * (int64_t)size, out_step[unit], r1 - r0,
                            cols);
    }
    return STATUS_OK;
}

const struct kernel generic_transpose = {
    .name = "generic.transpose",
    .isa = ISA_GENERIC,
    .op = OP_Transpose,
    .accepts = transpose_accepts,
    .run = transpose_run,
};

static bool gather_accepts(const struct kernel_call *c) {
    int64_t axis = attr_int(c->attrs, "axis", 0);
    const struct tensor *x = c->in[0], *i = c->in[1];
    return x->rank >= 1 && (axis == 0 || axis == -x->rank) && dtype_size(x->dtype) &&
           (i->dtype == DTYPE_I64 || i->dtype == DTYPE_I32);
}

static status gather_run(const struct kernel_call *c, const struct kernel_team *t,
                         struct error *err) {
    const struct tensor *x = c->in[0], *index = c->in[1];
    size_t row = dtype_size(x->dtype) * (size_t)dims_product(x->dims + 1, x->rank - 1u);
    int64_t from, to;
    kernel_share(t, tensor_n_elements(index), 1, &from, &to);
    for (int64_t i = from; i < to; i++) {
        int64_t at = index->dtype == DTYPE_I64 ? ((const int64_t *)index->data)[i]
                                               : ((const int32_t *)index->data)[i];
        if (at < -x->dims[0] || at >= x->dims[0])
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "index %lld is out of bounds for axis 0 with size %lld", (long long)at,
                             (long long)x->dims[0]);
        at += at < 0 ? x->dims[0] : 0;
        memcpy((char *)c->out[0]->data + (size_t)i * row, (const char *)x->data + (size_t)at * row,
               row);
    }
    return STATUS_OK;
}

const struct kernel generic_gather = {
    .name = "generic.gather",
    .isa = ISA_GENERIC,
    .op = OP_Gather,
    .accepts = gather_accepts,
    .run = gather_run,
};
