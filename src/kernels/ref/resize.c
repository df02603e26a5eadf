/* Resize, Upsample, Resize2d: for each axis a table says which input positions an output position
 * is made of, and with what weights; the output is their product over the axes. */
#include "ops/resize.h"

#include <inttypes.h>
#include <math.h>

#include "kernels/ref/ref_internal.h"

#define CUBIC_A (-0.75)

struct axis {
    int64_t in, out;
    bool is_resized;
    double scale, roi_start, roi_end;
    int n_taps;
    int64_t *first;  /* [out] input position of the first tap; may lie outside */
    double *weights; /* [out, n_taps]; all zero: outside, the extrapolation value */
};

struct resize {
    int rank;
    resize_mode mode;
    resize_coordinate coordinate;
    resize_nearest nearest;
    bool is_antialiased, excludes_outside;
    double cubic_a, extrapolation;
    struct axis axes[TENSOR_RANK_MAX];
};

/* Taps of an axis; antialiasing widens the filter when it shrinks. */
static int n_taps_of(const struct resize *r, double scale) {
    int half = r->mode == RESIZE_CUBIC ? 2 : 1;
    if (r->mode == RESIZE_NEAREST)
        return 1;
    if (!r->is_antialiased || scale >= 1)
        return 2 * half;
    double start = floor(-half / scale) + 1;
    return start < -1e6 ? -1 : 2 - 2 * (int)start;
}

static double cubic(double x, double a) {
    x = fabs(x);
    if (x <= 1)
        return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? ((a * x - 5 * a) * x + 8 * a) * x - 4 * a : 0;
}

static double filter(const struct resize *r, double distance) {
    if (r->mode == RESIZE_CUBIC)
        return cubic(distance, r->cubic_a);
    distance = fabs(distance);
    return distance < 1 ? 1 - distance : 0;
}

/* Weights of the taps around `position`; they add up to 1. */
static void fill_taps(const struct resize *r, struct axis *a, int64_t o, double position) {
    double *w = a->weights + o * a->n_taps, sum = 0;
    double whole = floor(position), ratio = position - whole;
    if (r->mode == RESIZE_NEAREST) {
        a->first[o] = resize_nearest_index(r->nearest, position);
        w[0] = 1;
        return;
    }
    if (ratio == 0) { /* as ONNX's reference: the last of the two neighbours */
        ratio = 1;
        whole -= 1;
    }
    double shrink = r->is_antialiased && a->scale < 1 ? a->scale : 1;
    a->first[o] = (int64_t)whole - a->n_taps / 2 + 1;
    for (int i = 0; i < a->n_taps; i++) {
        int64_t at = a->first[o] + i;
        w[i] = filter(r, ((double)(i - a->n_taps / 2 + 1) - ratio) * shrink);
        if (r->excludes_outside && (at < 0 || at >= a->in))
            w[i] = 0;
        sum += w[i];
    }
    for (int i = 0; i < a->n_taps; i++)
        w[i] = sum != 0 ? w[i] / sum : 0;
}

static void fill_axis(const struct resize *r, struct axis *a) {
    for (int64_t o = 0; o < a->out; o++) {
        if (!a->is_resized) {
            a->first[o] = o;
            a->weights[o] = 1;
            continue;
        }
        double position =
            resize_position(r->coordinate, o, a->scale, a->in, a->out, a->roi_start, a->roi_end);
        bool is_outside = r->coordinate == RESIZE_TF_CROP_AND_RESIZE &&
                          (position < 0 || position > (double)(a->in - 1));
        if (is_outside) {
            a->first[o] = 0;
            memset(a->weights + o * a->n_taps, 0, (size_t)a->n_taps * sizeof *a->weights);
        } else {
            fill_taps(r, a, o, position);
        }
    }
}

/* Sum over the taps of all axes at output position index[]. */
static double resize_at(const struct resize *r, const struct tensor *x, const int64_t *strides,
                        const int64_t *index) {
    int tap[TENSOR_RANK_MAX] = {0};
    double sum = 0, total = 0;
    for (bool is_done = false; !is_done;) {
        double weight = 1;
        int64_t at = 0;
        for (int d = 0; d < r->rank; d++) {
            const struct axis *a = &r->axes[d];
            int64_t i = a->first[index[d]] + tap[d];
            i = i < 0 ? 0 : i >= a->in ? a->in - 1 : i;
            at += i * strides[d];
            weight *= a->weights[index[d] * a->n_taps + tap[d]];
        }
        total += fabs(weight);
        if (weight != 0)
            sum += weight * ref_get(x, at);
        is_done = true;
        for (int d = r->rank - 1; d >= 0 && is_done; d--) {
            tap[d] = tap[d] + 1 < r->axes[d].n_taps ? tap[d] + 1 : 0;
            is_done = tap[d] == 0;
        }
    }
    return total == 0 ? r->extrapolation : sum;
}

/* Bytes that the tables need. */
static size_t tables_size(const struct resize *r) {
    size_t size = 0;
    for (int d = 0; d < r->rank; d++)
        size +=
            (size_t)r->axes[d].out * (sizeof(int64_t) + (size_t)r->axes[d].n_taps * sizeof(double));
    return size;
}

static status resize_run(struct resize *r, const struct kernel_call *c, struct error *err) {
    const struct tensor *x = c->in[0];
    struct tensor *y = c->out[0];
    int64_t strides[TENSOR_RANK_MAX], n = tensor_n_elements(y);
    char *table = c->scratch;
    for (int d = 0; d < r->rank; d++) {
        struct axis *a = &r->axes[d];
        a->in = x->dims[d];
        a->out = y->dims[d];
        a->n_taps = a->is_resized ? n_taps_of(r, a->scale) : 1;
        if ((!a->is_resized && a->in != a->out) || a->n_taps < 1 || (a->in == 0 && n > 0))
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "dim %d is %" PRId64 ", output has %" PRId64, d, a->in, a->out);
    }
    if (n == 0)
        return STATUS_OK;
    if (tables_size(r) > c->scratch_size)
        return error_set(err, STATUS_INVALID_ARGUMENT, "scales and sizes do not fit together");
    for (int d = 0; d < r->rank; d++) {
        struct axis *a = &r->axes[d];
        a->first = (int64_t *)(void *)table;
        a->weights = (double *)(void *)(table + (size_t)a->out * sizeof(int64_t));
        table += (size_t)a->out * (sizeof(int64_t) + (size_t)a->n_taps * sizeof(double));
        fill_axis(r, a);
    }
    ref_strides(x, strides);
    for (int64_t i = 0; i < n; i++) {
        int64_t index[TENSOR_RANK_MAX];
        for (int64_t d = r->rank - 1, rest = i; d >= 0; d--) {
            index[d] = rest % y->dims[d];
            rest /= y->dims[d];
        }
        ref_set(y, i, resize_at(r, x, strides, index));
    }
    return STATUS_OK;
}

/* As many taps as any scale that leads to these dims can need. */
static size_t resize_scratch(const struct kernel_call *c, unsigned n_threads) {
    const struct tensor *x = c->in[0], *y = c->out[0];
    bool is_antialiased = attr_int(c->attrs, "antialias", 0) != 0;
    size_t size = 0;
    (void)n_threads;
    if (tensor_n_elements(y) <= 0)
        return 0;
    for (int d = 0; d < y->rank; d++) {
        int64_t out = y->dims[d] > 0 ? y->dims[d] : 0, taps = 4;
        if (is_antialiased && out && x->dims[d] > out)
            taps = 2 * (2 * x->dims[d] / out + 3);
        size += (size_t)out * (sizeof(int64_t) + (size_t)taps * sizeof(double));
    }
    return size;
}

/* --- Resize, Upsample --- */

/* One scale for all axes: what infer_resize made the output from. */
static void keep_aspect(struct resize *r, const struct kernel_call *c) {
    str policy = attr_string(c->attrs, "keep_aspect_ratio_policy", "stretch");
    bool is_larger = str_eq_c(policy, "not_smaller"), is_first = true;
    double best = 1;
    if (!is_larger && !str_eq_c(policy, "not_larger"))
        return;
    const struct tensor *sizes = c->in[3];
    for (int d = 0, i = 0; d < r->rank; d++) {
        if (!r->axes[d].is_resized)
            continue;
        size_t n_axes;
        const int64_t *axes = attr_ints(c->attrs, "axes", &n_axes);
        int at = i++;
        for (size_t k = 0; axes && k < n_axes; k++)
            if ((axes[k] + r->rank) % r->rank == d)
                at = (int)k;
        double scale = ref_get(sizes, at) / (double)c->in[0]->dims[d];
        best = is_first || is_larger == (scale > best) ? scale : best;
        is_first = false;
    }
    for (int d = 0; d < r->rank; d++)
        if (r->axes[d].is_resized)
            r->axes[d].scale = best;
}

/* Which axes are resized, and how; n values lie in scales or sizes. */
static status read_axes(struct resize *r, const struct kernel_call *c, const struct tensor *scales,
                        const float *list, const struct tensor *roi, int64_t n, struct error *err) {
    const struct tensor *x = c->in[0], *y = c->out[0];
    size_t n_axes;
    const int64_t *axes = attr_ints(c->attrs, "axes", &n_axes);
    if (n != (axes ? (int64_t)n_axes : x->rank) || (roi && tensor_n_elements(roi) != 2 * n))
        return error_set(err, STATUS_INVALID_ARGUMENT, "%" PRId64 " scales or sizes", n);
    for (int64_t i = 0; i < n; i++) {
        int d;
        TRY(ref_axis(axes ? axes[i] : i, x->rank, &d, err));
        struct axis *a = &r->axes[d];
        a->is_resized = true;
        a->scale = scales ? ref_get(scales, i)
                   : list ? (double)list[i]
                          : (double)y->dims[d] / (double)x->dims[d];
        a->roi_start = roi ? ref_get(roi, i) : 0;
        a->roi_end = roi ? ref_get(roi, n + i) : 1;
        if (!(a->scale > 0) && y->dims[d] > 0)
            return error_set(err, STATUS_INVALID_ARGUMENT, "scale %" PRId64 " is %g", i, a->scale);
        if (a->scale == 1 && x->dims[d] == y->dims[d] && !roi)
            a->is_resized = false; /* an axis that stays as it is, in every mode */
    }
    return STATUS_OK;
}

static status read_modes(struct resize *r, const struct kernel_call *c, bool is_old,
                         struct error *err) {
    str mode = attr_string(c->attrs, "mode", "nearest");
    const char *coordinate = is_old ? "asymmetric" : "half_pixel";
    const char *nearest = is_old ? "floor" : "round_prefer_floor";
    r->is_antialiased = attr_int(c->attrs, "antialias", 0) != 0;
    r->excludes_outside = attr_int(c->attrs, "exclude_outside", 0) != 0;
    r->extrapolation = (double)attr_float(c->attrs, "extrapolation_value", 0);
    r->cubic_a = (double)attr_float(c->attrs, "cubic_coeff_a", (float)CUBIC_A);
    if (!resize_mode_parse(&r->mode, str_eq_c(mode, "bilinear") ? STR("linear") : mode) ||
        !resize_coordinate_parse(
            &r->coordinate, attr_string(c->attrs, "coordinate_transformation_mode", coordinate)) ||
        !resize_nearest_parse(&r->nearest, attr_string(c->attrs, "nearest_mode", nearest)))
        return error_set(err, STATUS_INVALID_ARGUMENT, "mode is not known");
    return STATUS_OK;
}

static status resize(const struct kernel_call *c, const struct kernel_team *t, struct error *err) {
    const struct tensor *x = c->in[0];
    bool is_old = c->op == OP_Upsample || (c->opset > 0 && c->opset < 11);
    const struct tensor *scales = ref_in(c, is_old ? 1 : 2), *sizes = is_old ? NULL : ref_in(c, 3);
    size_t n_list;
    const float *list = attr_floats(c->attrs, "scales", &n_list);
    struct resize r = {.rank = x->rank};
    (void)t;
    if (x->rank != c->out[0]->rank)
        return error_set(err, STATUS_INVALID_ARGUMENT, "input has rank %d, output %d", x->rank,
                         c->out[0]->rank);
    TRY(read_modes(&r, c, is_old, err));
    if (sizes && tensor_n_elements(sizes) == 0)
        sizes = NULL;
    if (sizes)
        scales = NULL;
    const struct tensor *roi =
        is_old || r.coordinate != RESIZE_TF_CROP_AND_RESIZE ? NULL : ref_in(c, 1);
    int64_t n = sizes    ? tensor_n_elements(sizes)
                : scales ? tensor_n_elements(scales)
                         : (int64_t)n_list;
    TRY(read_axes(&r, c, scales, sizes ? NULL : list, roi, n, err));
    if (sizes)
        keep_aspect(&r, c);
    return resize_run(&r, c, err);
}

REF_SCRATCH(Resize, ref_accepts_number, resize, resize_scratch)
REF_SCRATCH(Upsample, ref_accepts_number, resize, resize_scratch)

/* x [B, H, W, C] -> y [B, OH, OW, C] */
static status resize2d(const struct kernel_call *c, const struct kernel_team *t,
                       struct error *err) {
    const struct tensor *x = c->in[0], *y = c->out[0];
    struct resize r = {.rank = 4, .cubic_a = CUBIC_A};
    size_t n;
    const float *scales = attr_floats(c->attrs, "scales", &n);
    (void)t;
    if (x->rank != 4 || y->rank != 4 ||
        !resize_mode_parse(&r.mode, attr_string(c->attrs, "mode", "nearest")) ||
        !resize_coordinate_parse(&r.coordinate,
                                 attr_string(c->attrs, "coordinate", "half_pixel")) ||
        !resize_nearest_parse(&r.nearest,
                              attr_string(c->attrs, "nearest_mode", "round_prefer_floor")))
        return error_set(err, STATUS_INVALID_ARGUMENT, "input has rank %d, or an unknown mode",
                         x->rank);
    for (int d = 1; d < 3; d++) {
        struct axis *a = &r.axes[d];
        bool has_scale = !ref_in(c, 1) && scales && n == 2;
        a->scale = has_scale ? (double)scales[d - 1] : (double)y->dims[d] / (double)x->dims[d];
        a->roi_end = 1;
        a->is_resized = a->scale != 1 || x->dims[d] != y->dims[d];
        if (!(a->scale > 0) && y->dims[d] > 0)
            return error_set(err, STATUS_INVALID_ARGUMENT, "scale is %g", a->scale);
    }
    return resize_run(&r, c, err);
}

REF_SCRATCH(Resize2d, ref_accepts_float, resize2d, resize_scratch)
