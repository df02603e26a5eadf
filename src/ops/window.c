#include "ops/window.h"

#include <inttypes.h>

static status read_list(const struct attr_list *attrs, const char *name, int n, int64_t low,
                        int64_t fallback, int64_t *out, struct error *err) {
    size_t count;
    const int64_t *list = attr_ints(attrs, name, &count);
    if (list && count != (size_t)n)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%s has %zu elements, wanted %d", name,
                         count, n);
    for (int i = 0; i < n; i++) {
        out[i] = list ? list[i] : fallback;
        if (out[i] < low || out[i] > INT32_MAX)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "%s[%d] is %" PRId64 ", wanted %" PRId64 " to %d", name, i, out[i],
                             low, INT32_MAX);
    }
    return STATUS_OK;
}

status window_read(struct window *w, const struct attr_list *attrs, int n, const int64_t *size,
                   struct error *err) {
    int64_t pads[2 * WINDOW_AXES_MAX];
    str mode = attr_string(attrs, "auto_pad", "NOTSET");
    *w = (struct window){.n = n, .has_ceil = attr_int(attrs, "ceil_mode", 0) != 0};
    if (n < 1 || n > WINDOW_AXES_MAX)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%d spatial axes, wanted 1 to %d", n,
                         WINDOW_AXES_MAX);
    TRY(read_list(attrs, "kernel_shape", n, 1, 0 + (size != NULL), w->size, err));
    TRY(read_list(attrs, "strides", n, 1, 1, w->stride, err));
    TRY(read_list(attrs, "dilations", n, 1, 1, w->dilation, err));
    TRY(read_list(attrs, "pads", 2 * n, 0, 0, pads, err));
    if (str_eq_c(mode, "SAME_UPPER") || str_eq_c(mode, "SAME_LOWER"))
        w->padding = str_eq_c(mode, "SAME_UPPER") ? WINDOW_SAME_UPPER : WINDOW_SAME_LOWER;
    else if (!str_eq_c(mode, "NOTSET") && !str_eq_c(mode, "VALID") && mode.n)
        return error_set(err, STATUS_INVALID_ARGUMENT, "auto_pad is \"%.*s\"", STR_ARG(mode));
    for (int i = 0; i < n; i++) {
        if (size)
            w->size[i] = size[i];
        if (w->size[i] < 1 || w->size[i] > INT32_MAX)
            return error_set(err, STATUS_INVALID_ARGUMENT, "kernel size %d is %" PRId64, i,
                             w->size[i]);
        bool is_explicit = w->padding == WINDOW_EXPLICIT && !str_eq_c(mode, "VALID");
        w->pad_begin[i] = is_explicit ? pads[i] : 0;
        w->pad_end[i] = is_explicit ? pads[n + i] : 0;
    }
    return STATUS_OK;
}

/* Cells from the first to the last that a window touches. */
static int64_t extent(const struct window *w, int axis) {
    return (w->size[axis] - 1) * w->dilation[axis] + 1;
}

dim window_count(struct dim_pool *pool, const struct window *w, int axis, dim in) {
    int64_t stride = w->stride[axis];
    if (w->padding != WINDOW_EXPLICIT)
        return dim_ceildiv(pool, in, stride);
    dim room = dim_add(pool, in, w->pad_begin[axis] + w->pad_end[axis] - extent(w, axis));
    if (!w->has_ceil)
        return dim_add(pool, dim_floordiv(pool, room, stride), 1);
    /* Every window must start within the input or before it. */
    dim starts = dim_ceildiv(pool, dim_add(pool, in, w->pad_begin[axis]), stride);
    return dim_min(pool, dim_add(pool, dim_ceildiv(pool, room, stride), 1), starts);
}

int64_t window_pad_before(const struct window *w, int axis, int64_t in, int64_t out) {
    if (w->padding == WINDOW_EXPLICIT)
        return w->pad_begin[axis];
    int64_t pad = (out - 1) * w->stride[axis] + extent(w, axis) - in;
    pad = pad < 0 ? 0 : pad;
    return w->padding == WINDOW_SAME_UPPER ? pad / 2 : pad - pad / 2;
}

dim window_transposed(struct dim_pool *pool, const struct window *w, int axis, dim in,
                      int64_t extra) {
    if (w->padding != WINDOW_EXPLICIT)
        return dim_mul(pool, in, w->stride[axis]);
    dim grown = dim_mul(pool, dim_sub(pool, in, 1), w->stride[axis]);
    return dim_add(pool, grown, extent(w, axis) + extra - w->pad_begin[axis] - w->pad_end[axis]);
}

int64_t window_transposed_pad(const struct window *w, int axis, int64_t in, int64_t out,
                              int64_t extra, bool has_output_shape) {
    if (w->padding == WINDOW_EXPLICIT && !has_output_shape)
        return w->pad_begin[axis];
    int64_t pad = (in - 1) * w->stride[axis] + extra + extent(w, axis) - out;
    pad = pad < 0 ? 0 : pad;
    return w->padding == WINDOW_SAME_UPPER ? pad / 2 : pad - pad / 2;
}
