/* window.h - where the windows of convolutions and pools lie, for shapes and for kernels. */
#ifndef OPS_WINDOW_H
#define OPS_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "ops/attr.h"
#include "ops/dim.h"

enum { WINDOW_AXES_MAX = 6 };

typedef enum window_padding {
    WINDOW_EXPLICIT, /* pad_begin, pad_end */
    WINDOW_SAME_UPPER,
    WINDOW_SAME_LOWER,
} window_padding;

/* Windows over n spatial axes. All sizes are within 1 .. INT32_MAX, pads within 0 .. INT32_MAX. */
struct window {
    int n;
    window_padding padding;
    bool has_ceil; /* the last window may hang over the end */
    int64_t size[WINDOW_AXES_MAX], stride[WINDOW_AXES_MAX], dilation[WINDOW_AXES_MAX];
    int64_t pad_begin[WINDOW_AXES_MAX], pad_end[WINDOW_AXES_MAX];
};

/* Reads kernel_shape (or takes `size`, [n], when it is not NULL), strides, pads, dilations,
 * auto_pad, ceil_mode as ONNX has them. INVALID_ARGUMENT: wrong counts or values. */
NODISCARD status window_read(struct window *w, const struct attr_list *attrs, int n,
                             const int64_t *size, struct error *err);

/* Number of windows along `axis` of an input of that size; may be negative or 0 when nothing
 * fits. */
dim window_count(struct dim_pool *pool, const struct window *w, int axis, dim in);

/* Cells before the input's first: window i starts at i * stride - that. */
int64_t window_pad_before(const struct window *w, int axis, int64_t in, int64_t out);

/* Size of what a transposed convolution makes of `in`, and the cells cut off before its first.
 * `extra` is output_padding. */
dim window_transposed(struct dim_pool *pool, const struct window *w, int axis, dim in,
                      int64_t extra);
int64_t window_transposed_pad(const struct window *w, int axis, int64_t in, int64_t out,
                              int64_t extra, bool has_output_shape);

#endif
