/* Einsum by its definition: for each output position, a sum over all other labels. */
#include "ops/einsum.h"

#include <inttypes.h>

#include "kernels/ref/ref_internal.h"

/* For each label its size, and how far each input moves with it. */
struct labels {
    int64_t size[EINSUM_LABELS_MAX];
    int64_t step[EINSUM_INPUTS_MAX][EINSUM_LABELS_MAX];
};

static status read_labels(struct labels *l, const struct einsum *e, const struct kernel_call *c,
                          struct error *err) {
    *l = (struct labels){0};
    for (int i = 0; i < e->n_labels; i++)
        l->size[i] = 1;
    for (size_t i = 0; i < c->n_in; i++)
        for (int d = 0; d < c->in[i]->rank; d++)
            if (c->in[i]->dims[d] != 1)
                l->size[e->in[i][d]] = c->in[i]->dims[d];
    for (size_t i = 0; i < c->n_in; i++) {
        int64_t strides[TENSOR_RANK_MAX];
        ref_strides(c->in[i], strides);
        for (int d = 0; d < c->in[i]->rank; d++) {
            int64_t have = c->in[i]->dims[d], want = l->size[e->in[i][d]];
            if (have != 1 && have != want)
                return error_set(err, STATUS_INVALID_ARGUMENT,
                                 "sizes of one label are %" PRId64 " and %" PRId64, have, want);
            l->step[i][e->in[i][d]] += have == 1 ? 0 : strides[d];
        }
    }
    return STATUS_OK;
}

static double term_f64(const struct kernel_call *c, const int64_t *at) {
    double product = 1;
    for (size_t i = 0; i < c->n_in; i++)
        product *= ref_get(c->in[i], at[i]);
    return product;
}

static uint64_t term_u64(const struct kernel_call *c, const int64_t *at) {
    uint64_t product = 1;
    for (size_t i = 0; i < c->n_in; i++)
        product *= (uint64_t)ref_get_int(c->in[i], at[i]);
    return product;
}

/* The sum over labels[0 .. n) with the inputs at[] where the other labels put them. */
static void sum_over(const struct kernel_call *c, const struct labels *l, const int *labels, int n,
                     const int64_t *at, int64_t to) {
    int64_t count = 1;
    double sum = 0;
    uint64_t whole = 0;
    bool is_float = dtype_is_float(c->out[0]->dtype);
    for (int i = 0; i < n; i++)
        count *= l->size[labels[i]];
    for (int64_t k = 0; k < count; k++) {
        int64_t here[EINSUM_INPUTS_MAX], rest = k;
        memcpy(here, at, c->n_in * sizeof *here);
        for (int i = n - 1; i >= 0; i--) {
            int64_t index = rest % l->size[labels[i]];
            rest /= l->size[labels[i]];
            for (size_t p = 0; p < c->n_in; p++)
                here[p] += index * l->step[p][labels[i]];
        }
        if (is_float)
            sum += term_f64(c, here);
        else
            whole += term_u64(c, here);
    }
    if (is_float)
        ref_set(c->out[0], to, sum);
    else
        ref_set_int(c->out[0], to, (int64_t)whole);
}

static status einsum(const struct kernel_call *c, const struct kernel_team *t, struct error *err) {
    struct tensor *out = c->out[0];
    struct einsum e;
    struct labels l;
    int ranks[EINSUM_INPUTS_MAX], summed[EINSUM_LABELS_MAX], n_summed = 0;
    int64_t dims[TENSOR_RANK_MAX];
    (void)t;
    if (c->n_in > EINSUM_INPUTS_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%zu inputs", c->n_in);
    for (size_t i = 0; i < c->n_in; i++)
        ranks[i] = c->in[i]->rank;
    TRY(einsum_parse(&e, attr_string(c->attrs, "equation", ""), c->n_in, ranks, err));
    TRY(read_labels(&l, &e, c, err));
    unsigned kept = 0;
    for (int d = 0; d < e.n_out; d++) {
        dims[d] = l.size[e.out[d]];
        kept |= 1u << e.out[d];
    }
    for (int i = 0; i < e.n_labels; i++)
        if (!(kept >> i & 1))
            summed[n_summed++] = i;
    TRY(ref_want_dims("output", out, dims, e.n_out, err));
    for (int64_t i = 0, n = tensor_n_elements(out); i < n; i++) {
        int64_t at[EINSUM_INPUTS_MAX] = {0};
        for (int64_t d = e.n_out - 1, rest = i; d >= 0; d--) {
            int64_t index = rest % dims[d];
            rest /= dims[d];
            for (size_t p = 0; p < c->n_in; p++)
                at[p] += index * l.step[p][e.out[d]];
        }
        sum_over(c, &l, summed, n_summed, at, i);
    }
    return STATUS_OK;
}

REF(Einsum, ref_accepts_number, einsum)
