/* request.h - holds a request to its model's description, with Triton's texts.
 *
 * Source of checks, order and texts: Triton 2.51 (core infer_request.cc, as answered on the
 * wire). */
#ifndef SERVER_BACKEND_REQUEST_H
#define SERVER_BACKEND_REQUEST_H

#include "server/backend/backend.h"

/* An input as the client named it; the tensor's dims are the client's. */
struct infer_named {
    str name;
    struct tensor tensor;
    bool is_raw; /* its name was deduced: texts say 'raw_input' */
};

/* Checks names, types, shapes, sizes and batch against r->model, then moves the tensors into
 * r->inputs (model's order, zeroed by the caller) and sets r->n_batch. On an error the tensors
 * stay in `named`. INVALID_ARGUMENT. */
NODISCARD status infer_request_bind(struct infer_request *r, struct infer_named *named, size_t n,
                                    struct error *err);

/* Index of an output by name, or -1. */
ptrdiff_t model_output_index(const struct model_spec *m, str name);
ptrdiff_t model_input_index(const struct model_spec *m, str name);

/* Elements that a BYTES block holds. INVALID_ARGUMENT: a length runs past the end. */
NODISCARD status bytes_count(const void *data, size_t size, int64_t *out, struct error *err);

/* "[-1,4]" of an io_spec with the batch dimension of `m`; returns `out`. */
char *io_dims_format(const struct model_spec *m, const struct io_spec *io,
                     char out[DIMS_TEXT_SIZE]);

#endif
