/* tensor_json.h - the elements of a tensor as JSON, and its classes. */
#ifndef SERVER_PROTOCOL_TENSOR_JSON_H
#define SERVER_PROTOCOL_TENSOR_JSON_H

#include "base/buffer.h"
#include "server/backend/backend.h"

enum { CLASSES_ELEMENTS_MAX = 1000000 /* of a tensor whose classes are asked for */ };

/* Appends "[1,2,3]": flat, row-major; NaN and infinities bare, as Triton prints them.
 * INVALID_ARGUMENT: FP16 and BF16, which JSON does not carry. */
NODISCARD status tensor_write_json(struct buffer *out, const struct tensor *t, struct error *err);

/* Replaces `t` by the `n` largest values of each row as BYTES "value:index[:label]", in memory of
 * `a`. INVALID_ARGUMENT: a type or size that has no classes. */
NODISCARD status tensor_classify(struct tensor *t, const struct model_spec *m,
                                 const struct io_spec *io, uint64_t n, struct arena *a,
                                 struct error *err);

#endif
