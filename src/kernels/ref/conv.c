/* Convolutions, plain and transposed, of ONNX's layout and of ours; sums are kept in double, which
 * is exact for the quantized ones. */
#include <inttypes.h>
#include <math.h>

#include "kernels/ref/ref_internal.h"
#include "ops/fused.h"
#include "ops/window.h"

/* Everything in elements: where x [b, c, i...], w [m, c, k...], y [b, m, o...] lie. */
struct conv {
    const struct tensor *x, *w;
    struct window window;
    bool is_transposed;
    int64_t batch, channels, maps; /* channels and maps of one group */
    int64_t group;
    int64_t x_batch, x_channel, w_group, w_map, w_channel, y_batch, y_map;
    int64_t in[WINDOW_AXES_MAX], out[WINDOW_AXES_MAX], pad[WINDOW_AXES_MAX];
    int64_t x_step[WINDOW_AXES_MAX], w_step[WINDOW_AXES_MAX], y_step[WINDOW_AXES_MAX];
    const struct tensor *x_zero, *w_zero; /* zero points; or NULL */
};

/* Strides of dims first .. first + n - 1 of a row-major tensor. */
static void steps(const struct tensor *t, int first, int n, int64_t *out) {
    int64_t strides[TENSOR_RANK_MAX];
    ref_strides(t, strides);
    for (int i = 0; i < n; i++)
        out[i] = strides[first + i];
}

static double zero_point(const struct tensor *t, int64_t i) {
    return t ? ref_get(t, tensor_n_elements(t) > 1 ? i : 0) : 0;
}

/* Input position on `axis` that output position o meets at kernel position k; -1: none. */
static int64_t input_at(const struct conv *v, int axis, int64_t o, int64_t k) {
    const struct window *w = &v->window;
    int64_t at;
    if (v->is_transposed) {
        at = o + v->pad[axis] - k * w->dilation[axis];
        if (at < 0 || at % w->stride[axis] != 0)
            return -1;
        at /= w->stride[axis];
    } else {
        at = o * w->stride[axis] - v->pad[axis] + k * w->dilation[axis];
    }
    return at >= 0 && at < v->in[axis] ? at : -1;
}

/* Sum over channels of one kernel position. */
static double dot_channels(const struct conv *v, int64_t x, int64_t w, double x_zero,
                           double w_zero) {
    double sum = 0;
    if (v->x->dtype == DTYPE_F32 && v->w->dtype == DTYPE_F32 && !v->x_zero && !v->w_zero) {
        const float *a = v->x->data, *b = v->w->data;
        for (int64_t c = 0; c < v->channels; c++)
            sum += (double)a[x + c * v->x_channel] * (double)b[w + c * v->w_channel];
        return sum;
    }
    for (int64_t c = 0; c < v->channels; c++)
        sum += (ref_get(v->x, x + c * v->x_channel) - x_zero) *
               (ref_get(v->w, w + c * v->w_channel) - w_zero);
    return sum;
}

/* The sum at output position o[] of map m (within group g) of batch item b. */
static double conv_at(const struct conv *v, int64_t b, int64_t g, int64_t m, const int64_t *o) {
    const struct window *w = &v->window;
    int64_t k[WINDOW_AXES_MAX] = {0}, x_base = b * v->x_batch + g * v->channels * v->x_channel;
    int64_t w_base = g * v->w_group + m * v->w_map;
    double sum = 0, x_zero = zero_point(v->x_zero, 0);
    double w_zero = zero_point(v->w_zero, g * v->maps + m);
    for (bool is_done = false; !is_done;) {
        int64_t x = x_base, at_w = w_base;
        bool is_inside = true;
        for (int a = 0; a < w->n && is_inside; a++) {
            int64_t at = input_at(v, a, o[a], k[a]);
            is_inside = at >= 0;
            x += at * v->x_step[a];
            at_w += k[a] * v->w_step[a];
        }
        if (is_inside)
            sum += dot_channels(v, x, at_w, x_zero, w_zero);
        is_done = true;
        for (int a = w->n - 1; a >= 0 && is_done; a--) {
            k[a] = k[a] + 1 < w->size[a] ? k[a] + 1 : 0;
            is_done = k[a] == 0;
        }
    }
    return sum;
}

/* Calls put() for each output element. */
static void conv_run(const struct conv *v, void (*put)(void *arg, int64_t at, int64_t map, double),
                     void *arg) {
    int64_t n = dims_product(v->out, (size_t)v->window.n);
    for (int64_t b = 0; b < v->batch; b++)
        for (int64_t map = 0; map < v->group * v->maps; map++)
            for (int64_t i = 0; i < n; i++) {
                int64_t o[WINDOW_AXES_MAX], at = b * v->y_batch + map * v->y_map;
                for (int64_t a = v->window.n - 1, rest = i; a >= 0; a--) {
                    o[a] = rest % v->out[a];
                    rest /= v->out[a];
                    at += o[a] * v->y_step[a];
                }
                put(arg, at, map, conv_at(v, b, map / v->maps, map % v->maps, o));
            }
}

/* --- ONNX's layout --- */

static status conv_onnx(struct conv *v, const struct kernel_call *c, const struct tensor *x,
                        const struct tensor *w, bool is_transposed, struct error *err) {
    const struct tensor *y = c->out[0];
    int n = x->rank - 2;
    int64_t strides[TENSOR_RANK_MAX];
    *v = (struct conv){.x = x, .w = w, .is_transposed = is_transposed};
    v->group = attr_int(c->attrs, "group", 1);
    if (n < 1 || w->rank != x->rank || y->rank != x->rank || v->group < 1)
        return error_set(err, STATUS_INVALID_ARGUMENT, "ranks are %d, %d, %d, group %" PRId64,
                         x->rank, w->rank, y->rank, v->group);
    TRY(window_read(&v->window, c->attrs, n, w->dims + 2, err));
    v->batch = x->dims[0];
    v->channels = x->dims[1] / v->group;
    v->maps = is_transposed ? w->dims[1] : w->dims[0] / v->group;
    if (y->dims[0] != v->batch || y->dims[1] != v->group * v->maps ||
        x->dims[1] != v->group * v->channels ||
        w->dims[0] != v->group * (is_transposed ? v->channels : v->maps) ||
        w->dims[1] != (is_transposed ? v->maps : v->channels))
        return error_set(err, STATUS_INVALID_ARGUMENT, "channels do not fit");
    ref_strides(x, strides);
    v->x_batch = strides[0];
    v->x_channel = strides[1];
    ref_strides(w, strides);
    v->w_map = is_transposed ? strides[1] : strides[0];
    v->w_channel = is_transposed ? strides[0] : strides[1];
    v->w_group = strides[0] * (is_transposed ? v->channels : v->maps);
    ref_strides(y, strides);
    v->y_batch = strides[0];
    v->y_map = strides[1];
    steps(x, 2, n, v->x_step);
    steps(w, 2, n, v->w_step);
    steps(y, 2, n, v->y_step);
    for (int a = 0; a < n; a++) {
        v->in[a] = x->dims[a + 2];
        v->out[a] = y->dims[a + 2];
        if (!is_transposed)
            v->pad[a] = window_pad_before(&v->window, a, v->in[a], v->out[a]);
    }
    return STATUS_OK;
}

struct plain_put {
    struct tensor *y;
    const struct tensor *bias;
};

static void put_plain(void *arg, int64_t at, int64_t map, double sum) {
    const struct plain_put *p = arg;
    ref_set(p->y, at, sum + (p->bias ? ref_get(p->bias, map) : 0));
}

static status run_plain(const struct conv *v, const struct kernel_call *c, struct error *err) {
    struct plain_put p = {.y = c->out[0], .bias = ref_in(c, 2)};
    if (p.bias && tensor_n_elements(p.bias) != v->group * v->maps)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "bias has %" PRId64 " elements, wanted %" PRId64,
                         tensor_n_elements(p.bias), v->group * v->maps);
    conv_run(v, put_plain, &p);
    return STATUS_OK;
}

static status conv(const struct kernel_call *c, const struct kernel_team *t, struct error *err) {
    struct conv v;
    (void)t;
    TRY(conv_onnx(&v, c, c->in[0], c->in[1], false, err));
    return run_plain(&v, c, err);
}

REF(Conv, ref_accepts_float, conv)

static status conv_transpose(const struct kernel_call *c, const struct kernel_team *t,
                             struct error *err) {
    struct conv v;
    size_t n_extra, n_shape;
    const int64_t *extra = attr_ints(c->attrs, "output_padding", &n_extra);
    bool has_shape = attr_ints(c->attrs, "output_shape", &n_shape) != NULL;
    (void)t;
    TRY(conv_onnx(&v, c, c->in[0], c->in[1], true, err));
    for (int a = 0; a < v.window.n; a++)
        v.pad[a] = window_transposed_pad(&v.window, a, v.in[a], v.out[a],
                                         extra && (size_t)a < n_extra ? extra[a] : 0, has_shape);
    return run_plain(&v, c, err);
}

REF(ConvTranspose, ref_accepts_float, conv_transpose)

/* --- quantized --- */

static status check_zero_point(const struct tensor *zero, int64_t n, struct error *err) {
    int64_t have = zero ? tensor_n_elements(zero) : 1;
    return have == 1 || have == n
               ? STATUS_OK
               : error_set(err, STATUS_INVALID_ARGUMENT,
                           "%" PRId64 " scales or zero points, wanted 1 or %" PRId64, have, n);
}

static void put_integer(void *arg, int64_t at, int64_t map, double sum) {
    (void)map;
    ref_set_int(arg, at, (int64_t)sum);
}

static status conv_integer(const struct kernel_call *c, const struct kernel_team *t,
                           struct error *err) {
    struct conv v;
    (void)t;
    TRY(conv_onnx(&v, c, c->in[0], c->in[1], false, err));
    v.x_zero = ref_in(c, 2);
    v.w_zero = ref_in(c, 3);
    TRY(check_zero_point(v.x_zero, 1, err));
    TRY(check_zero_point(v.w_zero, v.group * v.maps, err));
    conv_run(&v, put_integer, c->out[0]);
    return STATUS_OK;
}

static bool accepts_bytes(const struct kernel_call *c) {
    if (!ref_accepts_fixed(c))
        return false;
    dtype x = c->in[0]->dtype, w = c->in[c->op == OP_QLinearConv ? 3 : 1]->dtype;
    return (x == DTYPE_U8 || x == DTYPE_I8) && (w == DTYPE_U8 || w == DTYPE_I8);
}

REF(ConvInteger, accepts_bytes, conv_integer)

struct quantized_put {
    const struct kernel_call *c;
    struct tensor *y;
};

/* Inputs: x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, bias. */
static void put_quantized(void *arg, int64_t at, int64_t map, double sum) {
    const struct quantized_put *p = arg;
    const struct tensor *const *in = p->c->in, *bias = ref_in(p->c, 8);
    sum += bias ? ref_get(bias, map) : 0;
    double scale = ref_get(in[1], 0) * zero_point(in[4], map) / ref_get(in[6], 0);
    double y = nearbyint(sum * scale) + zero_point(in[7], 0);
    ref_set(p->y, at, y); /* saturates */
}

static status qlinear_conv(const struct kernel_call *c, const struct kernel_team *t,
                           struct error *err) {
    static const size_t scalars[] = {1, 2, 6, 7};
    struct conv v;
    (void)t;
    TRY(conv_onnx(&v, c, c->in[0], c->in[3], false, err));
    v.x_zero = c->in[2];
    v.w_zero = c->in[5];
    for (size_t i = 0; i < ARRAY_LEN(scalars); i++)
        TRY(check_zero_point(c->in[scalars[i]], 1, err));
    TRY(check_zero_point(c->in[4], v.group * v.maps, err));
    TRY(check_zero_point(c->in[5], v.group * v.maps, err));
    if (ref_in(c, 8) && tensor_n_elements(c->in[8]) != v.group * v.maps)
        return error_set(err, STATUS_INVALID_ARGUMENT, "bias has %" PRId64 " elements",
                         tensor_n_elements(c->in[8]));
    struct quantized_put p = {.c = c, .y = c->out[0]};
    conv_run(&v, put_quantized, &p);
    return STATUS_OK;
}

REF(QLinearConv, accepts_bytes, qlinear_conv)

/* --- ours: x [B, H, W, C], y [B, OH, OW, M] --- */

struct fused_put {
    struct tensor *y;
    struct ref_tail tail;
};

static void put_fused(void *arg, int64_t at, int64_t map, double sum) {
    const struct fused_put *p = arg;
    ref_set(p->y, at, ref_tail_apply(&p->tail, sum, map, at));
}

static status conv2d(const struct kernel_call *c, const struct kernel_team *t, struct error *err) {
    const struct tensor *x = c->in[0], *w = c->in[1];
    struct tensor *y = c->out[0];
    bool is_transposed = c->op == OP_ConvTranspose2d;
    int64_t strides[TENSOR_RANK_MAX], group = attr_int(c->attrs, "group", 1);
    size_t n_extra;
    const int64_t *extra = attr_ints(c->attrs, "output_padding", &n_extra);
    struct conv v = {.x = x, .w = w, .is_transposed = is_transposed, .group = group};
    (void)t;
    if (x->rank != 4 || w->rank != 4 || y->rank != 4 || group < 1 || (is_transposed && group != 1))
        return error_set(err, STATUS_INVALID_ARGUMENT, "ranks are %d, %d, %d, group %" PRId64,
                         x->rank, w->rank, y->rank, group);
    TRY(window_read(&v.window, c->attrs, 2, w->dims + 1, err));
    v.batch = x->dims[0];
    v.channels = x->dims[3] / group;
    v.maps = y->dims[3] / group;
    const int64_t plain[4] = {v.maps * group, w->dims[1], w->dims[2], v.channels};
    const int64_t transposed[4] = {v.channels, w->dims[1], w->dims[2], v.maps};
    TRY(ref_want_dims("weights", w, is_transposed ? transposed : plain, 4, err));
    if (y->dims[0] != v.batch || v.channels * group != x->dims[3] || v.maps * group != y->dims[3])
        return error_set(err, STATUS_INVALID_ARGUMENT, "batch or channels do not fit");
    ref_strides(w, strides);
    v.w_map = is_transposed ? 1 : strides[0];
    v.w_channel = is_transposed ? strides[0] : 1;
    v.w_group = strides[0] * v.maps;
    steps(x, 0, 1, &v.x_batch);
    steps(y, 0, 1, &v.y_batch);
    v.x_channel = v.y_map = 1;
    steps(x, 1, 2, v.x_step);
    steps(w, 1, 2, v.w_step);
    steps(y, 1, 2, v.y_step);
    for (int a = 0; a < 2; a++) {
        v.in[a] = x->dims[a + 1];
        v.out[a] = y->dims[a + 1];
        v.pad[a] = is_transposed
                       ? window_transposed_pad(&v.window, a, v.in[a], v.out[a],
                                               extra && (size_t)a < n_extra ? extra[a] : 0, false)
                       : window_pad_before(&v.window, a, v.in[a], v.out[a]);
    }
    struct fused_put p = {.y = y};
    TRY(ref_tail_read(&p.tail, c, y->dims[3], err));
    conv_run(&v, put_fused, &p);
    return STATUS_OK;
}

REF(Conv2d, ref_accepts_float, conv2d)
REF(ConvTranspose2d, ref_accepts_float, conv2d)
