#include "ops/resize.h"

#include <inttypes.h>
#include <math.h>

#include "ops/infer_internal.h"

static bool parse(int *out, str name, const char *const *names, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (str_eq_c(name, names[i])) {
            *out = (int)i;
            return true;
        }
    return false;
}

bool resize_coordinate_parse(resize_coordinate *out, str name) {
    static const char *const names[] = {
        "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners",
        "asymmetric", "tf_half_pixel_for_nn", "tf_crop_and_resize"};
    int i = 0;
    bool is_known = parse(&i, name, names, ARRAY_LEN(names));
    *out = (resize_coordinate)i;
    return is_known;
}

bool resize_nearest_parse(resize_nearest *out, str name) {
    static const char *const names[] = {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"};
    int i = 0;
    bool is_known = parse(&i, name, names, ARRAY_LEN(names));
    *out = (resize_nearest)i;
    return is_known;
}

bool resize_mode_parse(resize_mode *out, str name) {
    static const char *const names[] = {"nearest", "linear", "cubic"};
    int i = 0;
    bool is_known = parse(&i, name, names, ARRAY_LEN(names));
    *out = (resize_mode)i;
    return is_known;
}

double resize_position(resize_coordinate c, int64_t i, double scale, int64_t in, int64_t out,
                       double roi_start, double roi_end) {
    /* ONNX's reference takes the length before it is rounded. Where a position can fall in the
     * middle of two, floats decide as ONNX Runtime does: 4 / 1.6f is 2.5 in them. */
    double x = (double)i, n_in = (double)in, n_out = scale * n_in;
    float s = (float)scale, center_of_pixel = (float)i + 0.5f;
    switch (c) {
    case RESIZE_HALF_PIXEL:
        return (double)(center_of_pixel / s - 0.5f);
    case RESIZE_HALF_PIXEL_SYMMETRIC: {
        double adjustment = (double)out / n_out, center = n_in / 2;
        return center * (1 - adjustment) + (x + 0.5) / scale - 0.5;
    }
    case RESIZE_PYTORCH_HALF_PIXEL:
        return out > 1 ? (double)(center_of_pixel / s - 0.5f) : 0;
    case RESIZE_ALIGN_CORNERS:
        return out > 1 && n_out != 1 ? x * (n_in - 1) / (n_out - 1) : 0;
    case RESIZE_ASYMMETRIC:
        return (double)((float)i / s);
    case RESIZE_TF_HALF_PIXEL_FOR_NN:
        return (x + 0.5) / scale;
    case RESIZE_TF_CROP_AND_RESIZE:
        if (out > 1 && n_out != 1)
            return roi_start * (n_in - 1) + x * (roi_end - roi_start) * (n_in - 1) / (n_out - 1);
        return 0.5 * (roi_start + roi_end) * (n_in - 1);
    }
    return x;
}

int64_t resize_nearest_index(resize_nearest n, double position) {
    double floor_ = floor(position), v = floor_;
    if (n == RESIZE_CEIL)
        v = ceil(position);
    else if (n == RESIZE_ROUND_PREFER_FLOOR)
        v = position == floor_ + 0.5 ? floor_ : round(position);
    else if (n == RESIZE_ROUND_PREFER_CEIL)
        v = position == floor_ + 0.5 ? floor_ + 1 : round(position);
    return v < -1e15 ? 0 : v > 1e15 ? INT64_MAX / 2 : (int64_t)v;
}

dim resize_scaled(struct dim_pool *pool, dim in, double scale) {
    if (!(scale > 0) || scale > 1e9 || in == DIM_UNKNOWN)
        return DIM_UNKNOWN;
    if (dim_is_number(in)) {
        /* Scales come as floats: 80 * (float)(100 / 80.) is 100, not 99. */
        double size = floor((double)in * scale), nearest = round((double)in * scale);
        double slack = (double)in * scale * 1.2e-7;
        size = fabs((double)in * scale - nearest) <= slack ? nearest : size;
        return size < 1e15 ? (dim)size : DIM_UNKNOWN;
    }
    for (int64_t q = 1; q <= 64; q++) {
        double p = scale * (double)q;
        if (p == round(p))
            return dim_floordiv(pool, dim_mul(pool, in, (dim)p), q);
    }
    return DIM_UNKNOWN;
}

/* --- Resize, Upsample --- */

/* Axis of the i-th scale or size; attribute axes (18). */
static status resize_axis(const struct op_call *c, size_t i, int *out, struct error *err) {
    size_t n;
    const int64_t *axes = attr_ints(c->attrs, "axes", &n);
    if (axes && i >= n)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%zu axes, but a value %zu", n, i);
    return op_axis(c, axes ? axes[i] : (int64_t)i, c->in[0]->rank, out, err);
}

static status resize_by_scales(const struct op_call *c, const double *scales, size_t n,
                               const double *roi, struct op_value *out, struct error *err) {
    for (size_t i = 0; i < n; i++) {
        int a;
        TRY(resize_axis(c, i, &a, err));
        if (!(scales[i] > 0))
            return error_set(err, STATUS_INVALID_ARGUMENT, "scale %zu is %g", i, scales[i]);
        double part = roi ? roi[n + i] - roi[i] : 1;
        out->dims[a] = resize_scaled(c->pool, out->dims[a], scales[i] * part);
    }
    return STATUS_OK;
}

/* keep_aspect_ratio_policy: one scale, the smallest or largest, for all axes. */
static status resize_by_sizes(const struct op_call *c, const dim *sizes, size_t n,
                              struct op_value *out, struct error *err) {
    str policy = attr_string(c->attrs, "keep_aspect_ratio_policy", "stretch");
    bool is_larger = str_eq_c(policy, "not_smaller"), is_known = true;
    double best = is_larger ? 0 : INFINITY;
    int axes[TENSOR_RANK_MAX];
    for (size_t i = 0; i < n; i++) {
        TRY(resize_axis(c, i, &axes[i], err));
        dim in = out->dims[axes[i]];
        if (dim_is_number(sizes[i]) && sizes[i] < 0)
            return error_set(err, STATUS_INVALID_ARGUMENT, "size %zu is %" PRId64, i, sizes[i]);
        is_known &= dim_is_number(in) && in > 0 && dim_is_number(sizes[i]);
        double scale = is_known ? (double)sizes[i] / (double)in : 1;
        best = is_larger == (scale > best) ? scale : best;
    }
    for (size_t i = 0; i < n; i++) {
        dim *d = &out->dims[axes[i]];
        if (str_eq_c(policy, "stretch"))
            *d = sizes[i];
        else
            *d = is_known ? (dim)floor(best * (double)*d + 0.5) : DIM_UNKNOWN;
    }
    return STATUS_OK;
}

static status check_modes(const struct op_call *c, struct error *err) {
    resize_mode mode;
    resize_coordinate coordinate;
    resize_nearest nearest;
    str m = attr_string(c->attrs, "mode", "nearest");
    if (str_eq_c(m, "bilinear")) /* Upsample 7 */
        m = STR("linear");
    if (!resize_mode_parse(&mode, m) ||
        !resize_coordinate_parse(
            &coordinate, attr_string(c->attrs, "coordinate_transformation_mode", "half_pixel")) ||
        !resize_nearest_parse(&nearest,
                              attr_string(c->attrs, "nearest_mode", "round_prefer_floor")))
        return error_set(err, STATUS_UNIMPLEMENTED, "mode \"%.*s\" or one of its variants",
                         STR_ARG(m));
    return STATUS_OK;
}

/* Inputs: X, scales (10; Upsample) or X, roi, scales, sizes (11 on). */
status infer_resize(const struct op_call *c, struct error *err) {
    const struct op_value *in = c->in[0];
    bool is_old = op_id_of(c->op) == OP_Upsample || (c->opset > 0 && c->opset < 11);
    size_t scales_at = is_old ? 1 : 2, n_list, n = 0;
    const float *list = attr_floats(c->attrs, "scales", &n_list); /* Upsample 7 */
    double scales[TENSOR_RANK_MAX], roi[2 * TENSOR_RANK_MAX];
    const dim *sizes;
    TRY(check_modes(c, err));
    if (in->rank < 0)
        return op_unknown(c, in->dtype);
    size_t n_axes;
    size_t wanted = attr_ints(c->attrs, "axes", &n_axes) ? n_axes : (size_t)in->rank;
    struct op_value *out = op_out_like(c, 0, in->dtype, in);
    if (!is_old && op_in(c, 3)) {
        if (op_ints(c, 3, &sizes, &n) && n > 0) {
            if (n != wanted)
                return error_set(err, STATUS_INVALID_ARGUMENT, "%zu sizes for %zu axes", n, wanted);
            return resize_by_sizes(c, sizes, n, out, err);
        }
        if (n == 0 && op_in(c, 3)->rank == 1 && op_in(c, 3)->dims[0] != 0) {
            op_out(c, 0, in->dtype, in->rank);
            return STATUS_OK;
        }
    }
    if (list && n_list <= TENSOR_RANK_MAX)
        for (n = 0; n < n_list; n++)
            scales[n] = (double)list[n];
    else
        n = op_doubles(c, scales_at, scales, TENSOR_RANK_MAX);
    if (n == 0) {
        if (!op_in(c, scales_at))
            return error_set(err, STATUS_INVALID_ARGUMENT, "neither scales nor sizes");
        op_out(c, 0, in->dtype, in->rank);
        return STATUS_OK;
    }
    if (n != wanted)
        return error_set(err, STATUS_INVALID_ARGUMENT, "%zu scales for %zu axes", n, wanted);
    bool is_crop =
        str_eq_c(attr_string(c->attrs, "coordinate_transformation_mode", ""), "tf_crop_and_resize");
    bool has_roi = is_crop && !is_old && op_doubles(c, 1, roi, 2 * n) == 2 * n;
    return resize_by_scales(c, scales, n, has_roi ? roi : NULL, out, err);
}
