/* json_tensor.h - tensors in JSON, straight between the text and the memory of their dtype.
 *
 * Numbers keep KServe's and Triton's habits: NaN, Infinity and -Infinity are read and written bare,
 * a number too large for its float type becomes infinity, but one that no FP64 holds is an error.
 * An integer that does not fit its type, or has a point, is an error, too. FP32 is read and written
 * exactly (number.h); FP16 and BF16 go through FP32. BOOL is true and false; a BYTES element is a
 * string, or {"b64": "..."} as Vertex AI has it. Errors stick to the reader as in json_reader.h. */
#ifndef CODEC_JSON_TENSOR_H
#define CODEC_JSON_TENSOR_H

#include "base/buffer.h"
#include "base/status.h"
#include "codec/json_reader.h"
#include "tensor/tensor.h"

/* Reads the value that comes next into `t`, which says dtype (not BYTES), dims, data and size. The
 * value is flat or nested exactly as the dims say; a rank of 0 also takes a bare number. On an
 * error (JSON_PROBLEM_SHAPE, _TYPE, _RANGE...) the data are undefined. */
bool json_tensor_read(struct json_reader *r, const struct tensor *t);

/* The same for BYTES: appends {u32 length, bytes} an element. */
bool json_tensor_read_bytes(struct json_reader *r, const int64_t *dims, size_t rank,
                            struct buffer *out);

/* Reads a value of any shape: appends its elements to `out` (whose size_max is the limit) and says
 * what the nesting was. Ragged rows are JSON_PROBLEM_SHAPE. */
bool json_tensor_read_any(struct json_reader *r, dtype t, struct buffer *out,
                          int64_t dims[TENSOR_RANK_MAX], size_t *rank);

typedef enum json_tensor_style {
    JSON_TENSOR_FLAT = 0,   /* one array of all elements */
    JSON_TENSOR_NESTED = 1, /* arrays as the dims say; rank 0 is a bare value */
    JSON_TENSOR_B64 = 2,    /* flag: BYTES that are not UTF-8 become {"b64": "..."} */
} json_tensor_style;

/* Appends `t`. INVALID_ARGUMENT: its size is not that of its dims, or a BYTES element is not
 * UTF-8 (without the flag). */
NODISCARD status json_tensor_write(struct buffer *out, const struct tensor *t, unsigned style,
                                   struct error *err);

#endif
