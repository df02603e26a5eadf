#include "tensor/tensor.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

int64_t dims_product(const int64_t *dims, size_t rank) {
    int64_t n = 1;
    bool is_empty = false;
    for (size_t i = 0; i < rank; i++) {
        if (dims[i] < 0)
            return -1;
        is_empty |= dims[i] == 0;
    }
    for (size_t i = 0; i < rank && !is_empty; i++)
        if (__builtin_mul_overflow(n, dims[i], &n))
            return -1;
    return is_empty ? 0 : n;
}

int64_t tensor_n_elements(const struct tensor *t) {
    return dims_product(t->dims, t->rank);
}

bool tensor_size(dtype t, const int64_t *dims, size_t rank, size_t *out) {
    int64_t n = dims_product(dims, rank);
    return n >= 0 && dtype_size(t) && !__builtin_mul_overflow((size_t)n, dtype_size(t), out);
}

bool tensor_same_dims(const struct tensor *a, const struct tensor *b) {
    return a->rank == b->rank && memcmp(a->dims, b->dims, a->rank * sizeof *a->dims) == 0;
}

void tensor_release(struct tensor *t) {
    if (t->release)
        t->release(t->release_arg, t->data, t->size);
    *t = (struct tensor){0};
}

char *dims_format(const int64_t *dims, size_t rank, char out[DIMS_TEXT_SIZE]) {
    int n = snprintf(out, DIMS_TEXT_SIZE, "[");
    for (size_t i = 0; i < rank; i++)
        n += snprintf(out + n, (size_t)(DIMS_TEXT_SIZE - n), "%s%" PRId64, i ? "," : "",
                      dims[i] < 0 ? -1 : dims[i]);
    snprintf(out + n, (size_t)(DIMS_TEXT_SIZE - n), "]");
    return out;
}
