/* RotaryEmbedding (opset 23): x [B, H, S, D] or [B, S, H * D]; pairs of each head are rotated. */
#include <inttypes.h>

#include "kernels/ref/ref_internal.h"

struct rotary {
    int64_t batch, heads, length, size; /* size: of a head */
    int64_t rotated, half;              /* elements of a head that take part; half of them */
    bool is_interleaved, is_flat;       /* flat: rank 3 */
    const struct tensor *cos, *sin, *positions;
};

static status rotary_read(struct rotary *r, const struct kernel_call *c, struct error *err) {
    const struct tensor *x = c->in[0];
    *r = (struct rotary){.is_flat = x->rank == 3,
                         .is_interleaved = attr_int(c->attrs, "interleaved", 0) != 0,
                         .cos = c->in[1],
                         .sin = c->in[2],
                         .positions = ref_in(c, 3)};
    if (x->rank != 3 && x->rank != 4)
        return error_set(err, STATUS_INVALID_ARGUMENT, "input has rank %d", x->rank);
    r->batch = x->dims[0];
    r->heads = r->is_flat ? attr_int(c->attrs, "num_heads", 0) : x->dims[1];
    r->length = r->is_flat ? x->dims[1] : x->dims[2];
    if (r->heads < 1 || (r->is_flat && x->dims[2] % r->heads))
        return error_set(err, STATUS_INVALID_ARGUMENT, "%" PRId64 " heads", r->heads);
    r->size = r->is_flat ? x->dims[2] / r->heads : x->dims[3];
    r->rotated = attr_int(c->attrs, "rotary_embedding_dim", 0);
    r->rotated = r->rotated ? r->rotated : r->size;
    r->half = r->rotated / 2;
    if (r->rotated < 0 || r->rotated > r->size || r->rotated % 2)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%" PRId64 " of %" PRId64 " are rotated",
                         r->rotated, r->size);
    int64_t rows = r->positions && r->cos->rank == 2 ? r->cos->dims[0] : r->batch * r->length;
    if (tensor_n_elements(r->cos) != rows * r->half ||
        tensor_n_elements(r->sin) != rows * r->half ||
        (r->positions &&
         (r->cos->rank != 2 || tensor_n_elements(r->positions) != r->batch * r->length)))
        return error_set(err, STATUS_INVALID_ARGUMENT, "caches or positions do not fit");
    return STATUS_OK;
}

static void rotate(const struct rotary *r, const struct tensor *x, struct tensor *y, int64_t base,
                   int64_t row) {
    for (int64_t i = 0; i < r->half; i++) {
        int64_t first = base + (r->is_interleaved ? 2 * i : i);
        int64_t second = first + (r->is_interleaved ? 1 : r->half);
        double c = ref_get(r->cos, row * r->half + i), s = ref_get(r->sin, row * r->half + i);
        double a = ref_get(x, first), b = ref_get(x, second);
        ref_set(y, first, c * a - s * b);
        ref_set(y, second, s * a + c * b);
    }
}

static status rotary(const struct kernel_call *c, const struct kernel_team *t, struct error *err) {
    struct rotary r;
    TRY(rotary_read(&r, c, err));
    TRY(ref_want_dims("output", c->out[0], c->in[0]->dims, c->in[0]->rank, err));
    TRY(ref_copy(c, t, err));
    for (int64_t i = 0; i < r.batch * r.length; i++) {
        int64_t row = r.positions ? ref_get_int(r.positions, i) : i;
        if (r.positions && (row < 0 || row >= r.cos->dims[0]))
            return error_set(err, STATUS_INVALID_ARGUMENT, "position %" PRId64 " is %" PRId64, i,
                             row);
        for (int64_t h = 0; h < r.heads; h++) {
            int64_t b = i / r.length, s = i % r.length;
            int64_t head = r.is_flat ? i * r.heads + h : (b * r.heads + h) * r.length + s;
            rotate(&r, c->in[0], c->out[0], head * r.size, row);
        }
    }
    return STATUS_OK;
}

REF(RotaryEmbedding, ref_accepts_float, rotary)
