/* Pools, in ONNX's layout and in ours. */
#include <inttypes.h>
#include <math.h>

#include "kernels/ref/ref_internal.h"
#include "ops/window.h"

typedef enum pool_kind { POOL_MAX, POOL_AVERAGE, POOL_LP } pool_kind;

/* One plane for each (batch, channel); steps in elements. */
struct pool {
    pool_kind kind;
    struct window window;
    bool counts_pads;
    double p; /* LP */
    int64_t in[WINDOW_AXES_MAX], out[WINDOW_AXES_MAX], pad[WINDOW_AXES_MAX];
    int64_t x_step[WINDOW_AXES_MAX], y_step[WINDOW_AXES_MAX];
};

/* Cells of a window that lie within the padded input: what count_include_pad divides by. */
static int64_t count_padded(const struct pool *p, const int64_t *o) {
    int64_t n = 1;
    for (int a = 0; a < p->window.n; a++) {
        int64_t start = o[a] * p->window.stride[a] - p->pad[a], inside = 0;
        int64_t end = p->in[a] + p->window.pad_end[a];
        if (p->window.padding != WINDOW_EXPLICIT)
            end = INT64_MAX;
        for (int64_t k = 0; k < p->window.size[a]; k++)
            inside += start + k * p->window.dilation[a] < end;
        n *= inside;
    }
    return n;
}

/* The value of the window at o; *best: element offset of the maximum within the plane. */
static double pool_at(const struct pool *p, const struct tensor *x, int64_t base, const int64_t *o,
                      int64_t *best) {
    const struct window *w = &p->window;
    int64_t k[WINDOW_AXES_MAX] = {0}, n = 0;
    double value = p->kind == POOL_MAX ? -INFINITY : 0;
    *best = -1;
    for (bool is_done = false; !is_done;) {
        int64_t offset = 0;
        bool is_inside = true;
        for (int a = 0; a < w->n && is_inside; a++) {
            int64_t at = o[a] * w->stride[a] - p->pad[a] + k[a] * w->dilation[a];
            is_inside = at >= 0 && at < p->in[a];
            offset += at * p->x_step[a];
        }
        if (is_inside) {
            double v = ref_get(x, base + offset);
            n++;
            if (p->kind == POOL_AVERAGE)
                value += v;
            else if (p->kind == POOL_LP)
                value += pow(fabs(v), p->p);
            else if (v > value || *best < 0 || v != v) {
                value = v;
                *best = offset;
            }
        }
        is_done = true;
        for (int a = w->n - 1; a >= 0 && is_done; a--) {
            k[a] = k[a] + 1 < w->size[a] ? k[a] + 1 : 0;
            is_done = k[a] == 0;
        }
    }
    if (p->kind == POOL_LP)
        return pow(value, 1 / p->p);
    if (p->kind == POOL_AVERAGE) {
        n = p->counts_pads ? count_padded(p, o) : n;
        return n ? value / (double)n : 0;
    }
    return value;
}

/* One plane: x from `base`, y from `to`. Indices, if any, count from the start of x. */
static void pool_plane(const struct pool *p, const struct tensor *x, int64_t base, struct tensor *y,
                       int64_t to, struct tensor *indices, bool is_column_major) {
    int64_t n = dims_product(p->out, (size_t)p->window.n);
    for (int64_t i = 0; i < n; i++) {
        int64_t o[WINDOW_AXES_MAX], at = to, best;
        for (int64_t a = p->window.n - 1, rest = i; a >= 0; a--) {
            o[a] = rest % p->out[a];
            rest /= p->out[a];
            at += o[a] * p->y_step[a];
        }
        ref_set(y, at, pool_at(p, x, base, o, &best));
        if (!indices)
            continue;
        if (is_column_major && best >= 0) {
            int64_t column = 0, size = 1, rest = best;
            for (int a = 0; a < p->window.n; a++) {
                int64_t c = rest / p->x_step[a];
                rest %= p->x_step[a];
                column += c * size;
                size *= p->in[a];
            }
            best = column;
        }
        ref_set_int(indices, at, base + (best < 0 ? 0 : best));
    }
}

static status pool_geometry(struct pool *p, const struct tensor *x, const struct tensor *y,
                            int first, struct error *err) {
    int64_t xs[TENSOR_RANK_MAX], ys[TENSOR_RANK_MAX];
    if (x->rank != y->rank || first + p->window.n > x->rank)
        return error_set(err, STATUS_INVALID_ARGUMENT, "input has rank %d, output %d", x->rank,
                         y->rank);
    ref_strides(x, xs);
    ref_strides(y, ys);
    for (int a = 0; a < p->window.n; a++) {
        p->in[a] = x->dims[first + a];
        p->out[a] = y->dims[first + a];
        p->pad[a] = window_pad_before(&p->window, a, p->in[a], p->out[a]);
        p->x_step[a] = xs[first + a];
        p->y_step[a] = ys[first + a];
    }
    return STATUS_OK;
}

static pool_kind kind_of(op_id op) {
    return op == OP_AveragePool || op == OP_GlobalAveragePool ? POOL_AVERAGE
           : op == OP_LpPool || op == OP_GlobalLpPool         ? POOL_LP
                                                              : POOL_MAX;
}

static status pool_nchw(const struct kernel_call *c, struct pool *p, const struct kernel_team *t,
                        struct error *err) {
    const struct tensor *x = c->in[0];
    struct tensor *y = c->out[0], *indices = ref_out(c, 1);
    p->kind = kind_of(c->op);
    p->counts_pads = attr_int(c->attrs, "count_include_pad", 0) != 0;
    p->p = (double)attr_int(c->attrs, "p", 2);
    if (x->rank < 2 || x->dims[0] != y->dims[0] || x->dims[1] != y->dims[1])
        return error_set(err, STATUS_INVALID_ARGUMENT, "batch or channels do not fit");
    if (indices)
        TRY(ref_want_dims("indices", indices, y->dims, y->rank, err));
    TRY(pool_geometry(p, x, y, 2, err));
    int64_t planes = x->dims[0] * x->dims[1];
    int64_t x_plane = dims_product(p->in, (size_t)p->window.n);
    int64_t y_plane = dims_product(p->out, (size_t)p->window.n);
    int64_t i, end;
    for (kernel_share(t, planes, 1, &i, &end); i < end; i++)
        pool_plane(p, x, i * x_plane, y, i * y_plane, indices,
                   attr_int(c->attrs, "storage_order", 0) != 0);
    return STATUS_OK;
}

static status pool(const struct kernel_call *c, const struct kernel_team *t, struct error *err) {
    struct pool p = {0};
    TRY(window_read(&p.window, c->attrs, c->in[0]->rank - 2, NULL, err));
    return pool_nchw(c, &p, t, err);
}

REF_TEAM(AveragePool, ref_accepts_float, pool)
REF_TEAM(LpPool, ref_accepts_float, pool)
REF_TEAM(MaxPool, ref_accepts_number, pool)

/* One window over everything, however large. */
static void global_window(struct window *w, int n, const int64_t *size) {
    *w = (struct window){.n = n};
    for (int a = 0; a < n; a++) {
        w->size[a] = size[a] ? size[a] : 1;
        w->stride[a] = w->dilation[a] = 1;
    }
}

/* The n elements from `base` on: their mean, largest, or norm. */
static double pool_all(pool_kind kind, double p, const struct tensor *x, int64_t base, int64_t n) {
    double value = kind == POOL_MAX ? -INFINITY : 0;
    union ref_chunk v;
    for (int64_t i = 0; i < n; i += REF_CHUNK) {
        int64_t k = n - i < REF_CHUNK ? n - i : REF_CHUNK;
        ref_load(&v, WIDE_F64, x, base + i, 1, k);
        for (int64_t j = 0; j < k; j++)
            if (kind == POOL_MAX)
                value = v.f64[j] > value || v.f64[j] != v.f64[j] ? v.f64[j] : value;
            else
                value += kind == POOL_LP ? pow(fabs(v.f64[j]), p) : v.f64[j];
    }
    if (kind == POOL_AVERAGE)
        return n ? value / (double)n : 0;
    return kind == POOL_LP ? pow(value, 1 / p) : value;
}

static status global_pool(const struct kernel_call *c, const struct kernel_team *t,
                          struct error *err) {
    const struct tensor *x = c->in[0];
    struct tensor *y = c->out[0];
    double p = (double)attr_int(c->attrs, "p", 2);
    int64_t i, end;
    if (x->rank < 2 || x->rank != y->rank || tensor_n_elements(y) != x->dims[0] * x->dims[1])
        return error_set(err, STATUS_INVALID_ARGUMENT, "input has rank %d, output %d", x->rank,
                         y->rank);
    int64_t n = dims_product(x->dims + 2, x->rank - 2u);
    for (kernel_share(t, x->dims[0] * x->dims[1], 1, &i, &end); i < end; i++)
        ref_set(y, i, pool_all(kind_of(c->op), p, x, i * n, n));
    return STATUS_OK;
}

REF_TEAM(GlobalAveragePool, ref_accepts_float, global_pool)
REF_TEAM(GlobalLpPool, ref_accepts_float, global_pool)
REF_TEAM(GlobalMaxPool, ref_accepts_float, global_pool)

/* x [B, H, W, C] -> y [B, OH, OW, C] */
static status pool2d(const struct kernel_call *c, const struct kernel_team *t, struct error *err) {
    const struct tensor *x = c->in[0];
    struct tensor *y = c->out[0];
    struct pool p = {.kind = str_eq_c(attr_string(c->attrs, "kind", "max"), "max") ? POOL_MAX
                                                                                   : POOL_AVERAGE,
                     .counts_pads = attr_int(c->attrs, "count_include_pad", 0) != 0};
    (void)t;
    if (x->rank != 4 || y->rank != 4 || x->dims[0] != y->dims[0] || x->dims[3] != y->dims[3])
        return error_set(err, STATUS_INVALID_ARGUMENT, "batch or channels do not fit");
    if (attr_int(c->attrs, "global", 0) != 0)
        global_window(&p.window, 2, x->dims + 1);
    else
        TRY(window_read(&p.window, c->attrs, 2, NULL, err));
    TRY(pool_geometry(&p, x, y, 1, err));
    int64_t x_item = x->dims[1] * x->dims[2] * x->dims[3];
    int64_t y_item = y->dims[1] * y->dims[2] * y->dims[3];
    for (int64_t b = 0; b < x->dims[0]; b++)
        for (int64_t ch = 0; ch < x->dims[3]; ch++)
            pool_plane(&p, x, b * x_item + ch, y, b * y_item + ch, NULL, false);
    return STATUS_OK;
}

REF(Pool2d, ref_accepts_float, pool2d)
