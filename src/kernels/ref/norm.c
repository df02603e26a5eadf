/* Normalisations; statistics are kept in double. */
#include <inttypes.h>
#include <math.h>

#include "kernels/ref/ref_internal.h"

/* Mean and 1 / sqrt(variance + epsilon) of n elements from base on. */
static void moments(const struct tensor *in, int64_t base, int64_t n, double epsilon, double *mean,
                    double *scale) {
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < n; i++)
        sum += ref_get(in, base + i);
    *mean = n ? sum / (double)n : 0;
    for (int64_t i = 0; i < n; i++) {
        double d = ref_get(in, base + i) - *mean;
        squares += d * d;
    }
    *scale = 1 / sqrt((n ? squares / (double)n : 0) + epsilon);
}

/* x is [B, C, S]; each parameter has C elements. */
static status check_channels(const struct kernel_call *c, size_t from, int64_t *b, int64_t *ch,
                             int64_t *s, struct error *err) {
    const struct tensor *x = c->in[0];
    TRY(ref_want_dims("output", c->out[0], x->dims, x->rank, err));
    if (x->rank < 1)
        return error_set(err, STATUS_INVALID_ARGUMENT, "input is a scalar");
    *b = x->dims[0];
    *ch = x->rank > 1 ? x->dims[1] : 1;
    *s = x->rank > 2 ? dims_product(x->dims + 2, x->rank - 2u) : 1;
    for (size_t i = from; i < c->n_in; i++)
        if (tensor_n_elements(c->in[i]) != *ch)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "input %zu has %" PRId64 " elements, wanted %" PRId64, i,
                             tensor_n_elements(c->in[i]), *ch);
    return STATUS_OK;
}

static status batch_normalization(const struct kernel_call *c, const struct kernel_team *t,
                                  struct error *err) {
    const struct tensor *x = c->in[0];
    double epsilon = attr_float(c->attrs, "epsilon", 1e-5f);
    int64_t b, ch, s;
    (void)t;
    TRY(check_channels(c, 1, &b, &ch, &s, err));
    for (int64_t i = 0; i < b * ch; i++) {
        int64_t k = i % ch;
        double factor = ref_get(c->in[1], k) / sqrt(ref_get(c->in[4], k) + epsilon);
        double shift = ref_get(c->in[2], k) - ref_get(c->in[3], k) * factor;
        for (int64_t j = i * s; j < (i + 1) * s; j++)
            ref_set(c->out[0], j, ref_get(x, j) * factor + shift);
    }
    return STATUS_OK;
}

REF(BatchNormalization, ref_accepts_float, batch_normalization)

static status instance_normalization(const struct kernel_call *c, const struct kernel_team *t,
                                     struct error *err) {
    const struct tensor *x = c->in[0];
    double epsilon = attr_float(c->attrs, "epsilon", 1e-5f), mean, scale;
    int64_t b, ch, s;
    (void)t;
    TRY(check_channels(c, 1, &b, &ch, &s, err));
    for (int64_t i = 0; i < b * ch; i++) {
        moments(x, i * s, s, epsilon, &mean, &scale);
        for (int64_t j = i * s; j < (i + 1) * s; j++)
            ref_set(c->out[0], j,
                    (ref_get(x, j) - mean) * scale * ref_get(c->in[1], i % ch) +
                        ref_get(c->in[2], i % ch));
    }
    return STATUS_OK;
}

REF(InstanceNormalization, ref_accepts_float, instance_normalization)

/* From opset 21 on scale and bias are per channel, before per group. */
static status group_normalization(const struct kernel_call *c, const struct kernel_team *t,
                                  struct error *err) {
    const struct tensor *x = c->in[0];
    double epsilon = attr_float(c->attrs, "epsilon", 1e-5f), mean, scale;
    int64_t groups = attr_int(c->attrs, "num_groups", 1), b, ch, s;
    (void)t;
    TRY(check_channels(c, 3, &b, &ch, &s, err));
    int64_t n = tensor_n_elements(c->in[1]);
    if (groups < 1 || ch % groups || (n != groups && n != ch) || tensor_n_elements(c->in[2]) != n)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "%" PRId64 " groups of %" PRId64 " channels with %" PRId64 " parameters",
                         groups, ch, n);
    int64_t each = ch / groups;
    for (int64_t g = 0; g < b * groups; g++) {
        moments(x, g * each * s, each * s, epsilon, &mean, &scale);
        for (int64_t j = 0; j < each * s; j++) {
            int64_t k = n == ch && n != groups ? g % groups * each + j / s : g % groups;
            int64_t at = g * each * s + j;
            ref_set(c->out[0], at,
                    (ref_get(x, at) - mean) * scale * ref_get(c->in[1], k) + ref_get(c->in[2], k));
        }
    }
    return STATUS_OK;
}

REF(GroupNormalization, ref_accepts_float, group_normalization)

static status lrn(const struct kernel_call *c, const struct kernel_team *t, struct error *err) {
    const struct tensor *x = c->in[0];
    double alpha = attr_float(c->attrs, "alpha", 1e-4f), beta = attr_float(c->attrs, "beta", 0.75f);
    double bias = attr_float(c->attrs, "bias", 1);
    int64_t size = attr_int(c->attrs, "size", 1), b, ch, s;
    (void)t;
    TRY(check_channels(c, 1, &b, &ch, &s, err));
    size = size > 2 * ch ? 2 * ch + 1 : size;
    for (int64_t i = 0; i < b * ch; i++)
        for (int64_t j = 0; j < s; j++) {
            int64_t from = i % ch - (size - 1) / 2, to = i % ch + size / 2;
            double squares = 0;
            for (int64_t k = from < 0 ? 0 : from; k <= to && k < ch; k++) {
                double v = ref_get(x, (i - i % ch + k) * s + j);
                squares += v * v;
            }
            ref_set(c->out[0], i * s + j,
                    ref_get(x, i * s + j) / pow(bias + alpha / (double)size * squares, beta));
        }
    return STATUS_OK;
}

REF(LRN, ref_accepts_float, lrn)

/* --- along the last dims --- */

/* Scale and bias of LayerNormalization broadcast to the last dims: the parameter's element for
 * element i of a row whose dims are those of x from `axis` on. */
static int64_t parameter_index(const struct tensor *p, const struct tensor *x, int64_t i) {
    int64_t at = 0, stride = 1;
    for (int d = x->rank - 1, k = p->rank - 1; k >= 0; d--, k--) {
        int64_t coordinate = i % x->dims[d];
        i /= x->dims[d];
        at += p->dims[k] == 1 ? 0 : coordinate * stride;
        stride *= p->dims[k];
    }
    return at;
}

static status check_parameter(const struct tensor *p, const struct tensor *x, int axis,
                              struct error *err) {
    bool fits = !p || p->rank <= x->rank;
    for (int k = 0; p && fits && k < p->rank; k++) {
        int d = x->rank - p->rank + k;
        fits = p->dims[k] == 1 || (d >= axis && p->dims[k] == x->dims[d]);
    }
    return fits ? STATUS_OK
                : error_set(err, STATUS_INVALID_ARGUMENT, "scale or bias does not fit the input");
}

static status layer_normalization(const struct kernel_call *c, const struct kernel_team *t,
                                  struct error *err) {
    const struct tensor *x = c->in[0], *scale = c->in[1], *bias = ref_in(c, 2);
    struct tensor *y = c->out[0], *means = ref_out(c, 1), *factors = ref_out(c, 2);
    double epsilon = attr_float(c->attrs, "epsilon", 1e-5f);
    bool is_rms = c->op == OP_RMSNormalization;
    int axis;
    (void)t;
    TRY(ref_want_dims("output", y, x->dims, x->rank, err));
    TRY(ref_axis(attr_int(c->attrs, "axis", -1), x->rank, &axis, err));
    TRY(check_parameter(scale, x, axis, err));
    TRY(check_parameter(bias, x, axis, err));
    int64_t n = dims_product(x->dims + axis, (size_t)(x->rank - axis));
    int64_t rows = dims_product(x->dims, (size_t)axis);
    if ((means && tensor_n_elements(means) != rows) ||
        (factors && tensor_n_elements(factors) != rows))
        return error_set(err, STATUS_INVALID_ARGUMENT, "statistics are not %" PRId64, rows);
    for (int64_t r = 0; r < rows; r++) {
        double mean = 0, factor, squares = 0;
        for (int64_t i = 0; i < n && is_rms; i++)
            squares += ref_get(x, r * n + i) * ref_get(x, r * n + i);
        if (is_rms)
            factor = 1 / sqrt((n ? squares / (double)n : 0) + epsilon);
        else
            moments(x, r * n, n, epsilon, &mean, &factor);
        for (int64_t i = 0; i < n; i++) {
            double v = (ref_get(x, r * n + i) - mean) * factor;
            v *= ref_get(scale, parameter_index(scale, x, i));
            v += bias ? ref_get(bias, parameter_index(bias, x, i)) : 0;
            ref_set(y, r * n + i, v);
        }
        if (means)
            ref_set(means, r, mean);
        if (factors)
            ref_set(factors, r, factor);
    }
    return STATUS_OK;
}

REF(LayerNormalization, ref_accepts_float, layer_normalization)
REF(RMSNormalization, ref_accepts_float, layer_normalization)

static status lp_normalization(const struct kernel_call *c, const struct kernel_team *t,
                               struct error *err) {
    const struct tensor *x = c->in[0];
    int64_t p = attr_int(c->attrs, "p", 2);
    int axis;
    (void)t;
    TRY(ref_want_dims("output", c->out[0], x->dims, x->rank, err));
    TRY(ref_axis(attr_int(c->attrs, "axis", -1), x->rank, &axis, err));
    struct ref_split s = ref_split_at(x, axis);
    for (int64_t i = 0; i < s.before * s.after; i++) {
        int64_t base = i / s.after * s.n * s.after + i % s.after;
        double norm = 0;
        for (int64_t k = 0; k < s.n; k++) {
            double v = ref_get(x, base + k * s.after);
            norm += p == 1 ? fabs(v) : v * v;
        }
        norm = p == 1 ? norm : sqrt(norm);
        for (int64_t k = 0; k < s.n; k++)
            ref_set(c->out[0], base + k * s.after,
                    norm == 0 ? 0 : ref_get(x, base + k * s.after) / norm);
    }
    return STATUS_OK;
}

REF(LpNormalization, ref_accepts_float, lp_normalization)

/* Over the axes [0, 2, 3] by default: every dim of x is one of 8 that stay or go. */
static status mean_variance(const struct kernel_call *c, const struct kernel_team *t,
                            struct error *err) {
    static const int64_t defaults[] = {0, 2, 3};
    const struct tensor *x = c->in[0];
    size_t n_axes;
    const int64_t *axes = attr_ints(c->attrs, "axes", &n_axes);
    bool is_gone[TENSOR_RANK_MAX] = {false};
    int64_t strides[TENSOR_RANK_MAX], n = tensor_n_elements(x), rows = 1;
    (void)t;
    TRY(ref_want_dims("output", c->out[0], x->dims, x->rank, err));
    for (size_t i = 0; i < (axes ? n_axes : 3); i++) {
        int a;
        TRY(ref_axis(axes ? axes[i] : defaults[i], x->rank, &a, err));
        is_gone[a] = true;
    }
    ref_strides(x, strides);
    for (int d = 0; d < x->rank; d++)
        rows *= is_gone[d] ? 1 : x->dims[d];
    for (int64_t r = 0; r < rows && n; r++) {
        double sum = 0, squares = 0, count = (double)(n / rows);
        int64_t base = 0;
        for (int64_t d = x->rank - 1, rest = r; d >= 0; d--)
            if (!is_gone[d]) {
                base += rest % x->dims[d] * strides[d];
                rest /= x->dims[d];
            }
        for (int pass = 0; pass < 2; pass++)
            for (int64_t i = 0; i < n / rows; i++) {
                int64_t at = base;
                for (int64_t d = x->rank - 1, rest = i; d >= 0; d--)
                    if (is_gone[d]) {
                        at += rest % x->dims[d] * strides[d];
                        rest /= x->dims[d];
                    }
                double v = ref_get(x, at);
                if (pass == 0) {
                    sum += v;
                    squares += v * v;
                    continue;
                }
                double mean = sum / count, variance = squares / count - mean * mean;
                ref_set(c->out[0], at, (v - mean) / (sqrt(variance < 0 ? 0 : variance) + 1e-9));
            }
    }
    return STATUS_OK;
}

REF(MeanVarianceNormalization, ref_accepts_float, mean_variance)
