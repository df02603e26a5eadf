#include "compiler/passes/permute.h"

#include <string.h>

bool permutation_is_identity(const struct permutation *p) {
    for (size_t i = 0; i < p->rank; i++)
        if (p->axis[i] != (int64_t)i)
            return false;
    return true;
}

struct permutation permutation_inverse(const struct permutation *p) {
    struct permutation inverse = {.rank = p->rank};
    for (size_t i = 0; i < p->rank; i++)
        inverse.axis[p->axis[i]] = (int64_t)i;
    return inverse;
}

struct permutation permutation_compose(const struct permutation *first,
                                       const struct permutation *second) {
    struct permutation both = {.rank = first->rank};
    for (size_t i = 0; i < first->rank; i++)
        both.axis[i] = first->axis[second->axis[i]];
    return both;
}

bool permutation_equal(const struct permutation *a, const struct permutation *b) {
    return a->rank == b->rank && memcmp(a->axis, b->axis, a->rank * sizeof *a->axis) == 0;
}

/* The permutation of a Transpose; ONNX's default is the reverse order. */
static bool read_perm(const struct node *n, struct permutation *p) {
    int rank = n->in[0]->info.rank;
    if (rank < 0)
        return false;
    size_t n_perm;
    const int64_t *perm = attr_ints(&n->attrs, "perm", &n_perm);
    if (perm && n_perm != (size_t)rank)
        return false;
    *p = (struct permutation){.rank = (size_t)rank};
    for (int i = 0; i < rank; i++)
        p->axis[i] = perm ? perm[i] : rank - 1 - i;
    return true;
}

bool value_is_transposed(const struct value *v, struct value **source, struct permutation *p) {
    if (!v || !v->def || v->def->op != OP_Transpose || !read_perm(v->def, p))
        return false;
    *source = v->def->in[0];
    return true;
}

/* dst[out order] = src, element by element; constants are small beside the work they feed. */
static void permute_bytes(char *dst, const char *src, const int64_t *dims,
                          const struct permutation *p, size_t size) {
    int64_t strides[TENSOR_RANK_MAX], at[TENSOR_RANK_MAX] = {0}, n = 1;
    for (size_t i = p->rank; i-- > 0;) {
        strides[i] = n;
        n *= dims[i];
    }
    for (int64_t k = 0; k < n; k++) {
        int64_t from = 0;
        for (size_t i = 0; i < p->rank; i++)
            from += at[i] * strides[p->axis[i]];
        memcpy(dst + (size_t)k * size, src + (size_t)from * size, size);
        for (size_t i = p->rank; i-- > 0;) {
            if (++at[i] < dims[p->axis[i]])
                break;
            at[i] = 0;
        }
    }
}

static status permute_constant(struct value **out, struct graph *g, struct value *v,
                               const struct permutation *p, struct error *err) {
    const struct tensor *t = v->info.constant;
    int64_t dims[TENSOR_RANK_MAX];
    for (size_t i = 0; i < p->rank; i++)
        dims[i] = t->dims[p->axis[i]];
    struct value *made;
    TRY(graph_constant_copy(&made, g, t->dtype, dims, p->rank, NULL, err));
    permute_bytes(made->info.constant->data, t->data, t->dims, p, dtype_size(t->dtype));
    value_rest(v);
    *out = made;
    return STATUS_OK;
}

status insert_inferred(struct node **out, struct graph *g, struct node *before, op_id op,
                       struct value *const *in, size_t n_in, size_t n_out,
                       const struct attr_list *attrs, struct error *err) {
    struct node *n = graph_insert(g, before, op, in, n_in, n_out);
    for (size_t i = 0; attrs && i < attrs->n; i++)
        node_set_attr(g, n, attrs->items[i]);
    TRY(node_infer(g, n, NULL, err));
    *out = n;
    return STATUS_OK;
}

status permute_value(struct value **out, struct graph *g, struct node *before, struct value *v,
                     const struct permutation *p, struct error *err) {
    struct value *source;
    struct permutation first;
    if (value_is_transposed(v, &source, &first)) {
        struct permutation both = permutation_compose(&first, p);
        if (permutation_is_identity(&both)) {
            *out = source;
            return STATUS_OK;
        }
    }
    if (permutation_is_identity(p)) {
        *out = v;
        return STATUS_OK;
    }
    if (value_is_constant(v) && dtype_size(v->info.dtype))
        return permute_constant(out, g, v, p, err);
    struct attr perm = attr_of_ints(g, "perm", p->axis, p->rank);
    struct node *n;
    TRY(insert_inferred(&n, g, before, OP_Transpose, &v, 1, 1,
                        &(struct attr_list){.items = &perm, .n = 1}, err));
    *out = n->out[0];
    return STATUS_OK;
}

status reshape_value(struct value **out, struct graph *g, struct node *before, struct value *v,
                     const dim *dims, size_t rank, struct error *err) {
    int64_t shape[TENSOR_RANK_MAX];
    size_t n_free = 0;
    *out = NULL;
    for (size_t i = 0; i < rank; i++) {
        bool is_same =
            v->info.rank > (int)i && v->info.dims[i] == dims[i] && dims[i] != DIM_UNKNOWN;
        if (dim_is_number(dims[i]) && dims[i] > 0) {
            shape[i] = dims[i];
        } else if (is_same) {
            shape[i] = 0;
        } else {
            shape[i] = -1;
            n_free++;
        }
    }
    if (n_free > 1)
        return STATUS_OK;
    struct value *in[] = {v, graph_constant_ints(g, shape, rank)};
    struct node *n;
    TRY(insert_inferred(&n, g, before, OP_Reshape, in, 2, 1, NULL, err));
    *out = n->out[0];
    return STATUS_OK;
}
