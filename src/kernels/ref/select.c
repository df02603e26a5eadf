/* Operators whose outputs are as large as their data says: they write the dims too. */
#include <inttypes.h>
#include <math.h>

#include "kernels/ref/ref_internal.h"

/* --- NonZero --- */

static status non_zero(const struct kernel_call *c, const struct kernel_team *t,
                       struct error *err) {
    const struct tensor *in = c->in[0];
    struct tensor *out = c->out[0];
    int64_t n = tensor_n_elements(in), count = 0, at = 0, strides[TENSOR_RANK_MAX];
    (void)t;
    for (int64_t i = 0; i < n; i++)
        count += ref_get(in, i) != 0;
    if (out->rank != 2 || out->dims[0] != in->rank || count > out->dims[1])
        return error_set(err, STATUS_INVALID_ARGUMENT, "%" PRId64 " elements of rank %d do not fit",
                         count, in->rank);
    ref_strides(in, strides);
    for (int64_t i = 0; i < n; i++) {
        if (ref_get(in, i) == 0)
            continue;
        for (int d = 0; d < in->rank; d++)
            ref_set_int(out, d * count + at, i / strides[d] % in->dims[d]);
        at++;
    }
    out->dims[1] = count;
    return STATUS_OK;
}

REF(NonZero, ref_accepts_fixed, non_zero)

/* --- TopK --- */

/* One row of TopK: element i is at base + i * step. */
struct row {
    const struct tensor *t;
    int64_t base, step;
    bool is_largest;
};

/* Does element i come before j? Equal ones by their position, NaN as the largest. */
static bool comes_first(const struct row *r, int64_t i, int64_t j) {
    if (dtype_is_float(r->t->dtype)) {
        double a = ref_get(r->t, r->base + i * r->step), b = ref_get(r->t, r->base + j * r->step);
        bool a_nan = a != a, b_nan = b != b;
        if (a_nan || b_nan)
            return a_nan == b_nan ? i < j : a_nan == r->is_largest;
        return a != b ? (a > b) == r->is_largest : i < j;
    }
    int64_t a = ref_get_int(r->t, r->base + i * r->step);
    int64_t b = ref_get_int(r->t, r->base + j * r->step);
    bool is_greater = r->t->dtype == DTYPE_U64 ? (uint64_t)a > (uint64_t)b : a > b;
    return a != b ? is_greater == r->is_largest : i < j;
}

/* Moves the element at `at` of a heap of n, whose root comes last, down to its place. */
static void sift(const struct row *r, int64_t *heap, int64_t n, int64_t at) {
    for (int64_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && comes_first(r, heap[child], heap[child + 1]))
            child++;
        if (!comes_first(r, heap[at], heap[child]))
            return;
        int64_t keep = heap[at];
        heap[at] = heap[child];
        heap[child] = keep;
    }
}

/* best[0 .. k) = the first k of n, in order. */
static void select_row(const struct row *r, int64_t *best, int64_t k, int64_t n) {
    for (int64_t i = 0; i < k; i++)
        best[i] = i;
    for (int64_t i = k / 2 - 1; i >= 0; i--)
        sift(r, best, k, i);
    for (int64_t i = k; i < n && k > 0; i++)
        if (comes_first(r, i, best[0])) {
            best[0] = i;
            sift(r, best, k, 0);
        }
    for (int64_t m = k - 1; m > 0; m--) {
        int64_t last = best[0];
        best[0] = best[m];
        best[m] = last;
        sift(r, best, m, 0);
    }
}

static size_t topk_scratch(const struct kernel_call *c, unsigned n_threads) {
    int64_t most = 0;
    (void)n_threads;
    if (tensor_n_elements(c->in[0]) <= 0)
        return 0;
    for (int d = 0; d < c->in[0]->rank; d++)
        most = c->in[0]->dims[d] > most ? c->in[0]->dims[d] : most;
    return (size_t)most * sizeof(int64_t);
}

static status topk(const struct kernel_call *c, const struct kernel_team *t, struct error *err) {
    const struct tensor *in = c->in[0], *k_in = ref_in(c, 1);
    struct tensor *values = ref_out(c, 0), *indices = ref_out(c, 1);
    const struct tensor *any = values ? values : indices;
    int axis;
    (void)t;
    TRY(ref_axis(attr_int(c->attrs, "axis", -1), in->rank, &axis, err));
    struct ref_split s = ref_split_at(in, axis);
    int64_t k =
        k_in && tensor_n_elements(k_in) == 1 ? ref_get_int(k_in, 0) : attr_int(c->attrs, "k", -1);
    bool is_empty = s.before * s.after == 0;
    if (!any || any->rank != in->rank || k < 0 || k > s.n || k > any->dims[axis] ||
        (!is_empty && c->scratch_size < (size_t)k * sizeof(int64_t)))
        return error_set(err, STATUS_INVALID_ARGUMENT, "k is %" PRId64 ", the axis has %" PRId64, k,
                         s.n);
    int64_t dims[TENSOR_RANK_MAX], *best = c->scratch;
    memcpy(dims, in->dims, sizeof dims);
    dims[axis] = k;
    for (size_t i = 0; i < c->n_out; i++)
        if (c->out[i]) {
            c->out[i]->dims[axis] = k;
            TRY(ref_want_dims("output", c->out[i], dims, in->rank, err));
        }
    for (int64_t i = 0; i < s.before * s.after; i++) {
        int64_t b = i / s.after, a = i % s.after;
        struct row r = {.t = in,
                        .base = b * s.n * s.after + a,
                        .step = s.after,
                        .is_largest = attr_int(c->attrs, "largest", 1) != 0};
        select_row(&r, best, k, s.n);
        for (int64_t j = 0; j < k; j++) {
            int64_t to = (b * k + j) * s.after + a, from = r.base + best[j] * r.step;
            size_t size = dtype_size(in->dtype);
            if (values)
                memcpy((char *)values->data + (size_t)to * size,
                       (const char *)in->data + (size_t)from * size, size);
            if (indices)
                ref_set_int(indices, to, best[j]);
        }
    }
    return STATUS_OK;
}

static bool accepts_topk(const struct kernel_call *c) {
    return ref_accepts_number(c) && (!ref_out(c, 0) || c->out[0]->dtype == c->in[0]->dtype);
}

REF_SCRATCH(TopK, accepts_topk, topk, topk_scratch)

/* --- NonMaxSuppression --- */

struct box {
    double x0, y0, x1, y1;
};

static struct box box_at(const struct tensor *boxes, int64_t i, bool is_center) {
    double v[4];
    for (int k = 0; k < 4; k++)
        v[k] = ref_get(boxes, i * 4 + k);
    if (is_center) /* x, y, width, height */
        return (struct box){v[0] - v[2] / 2, v[1] - v[3] / 2, v[0] + v[2] / 2, v[1] + v[3] / 2};
    return (struct box){fmin(v[1], v[3]), fmin(v[0], v[2]), fmax(v[1], v[3]), fmax(v[0], v[2])};
}

static double overlap(struct box a, struct box b) {
    double w = fmin(a.x1, b.x1) - fmax(a.x0, b.x0), h = fmin(a.y1, b.y1) - fmax(a.y0, b.y0);
    double both = w > 0 && h > 0 ? w * h : 0;
    double area_a = (a.x1 - a.x0) * (a.y1 - a.y0), area_b = (b.x1 - b.x0) * (b.y1 - b.y0);
    return area_a <= 0 || area_b <= 0 ? 0 : both / (area_a + area_b - both);
}

static size_t nms_scratch(const struct kernel_call *c, unsigned n_threads) {
    const struct tensor *boxes = c->in[0];
    (void)n_threads;
    return boxes->rank == 3 && tensor_n_elements(boxes) > 0
               ? 2 * (size_t)boxes->dims[1] * sizeof(int64_t)
               : 0;
}

static double scalar_or(const struct tensor *t, double fallback) {
    return t && tensor_n_elements(t) == 1 ? ref_get(t, 0) : fallback;
}

static status nms(const struct kernel_call *c, const struct kernel_team *t, struct error *err) {
    const struct tensor *boxes = c->in[0], *scores = c->in[1], *floor_in = ref_in(c, 4);
    struct tensor *out = c->out[0];
    bool is_center = attr_int(c->attrs, "center_point_box", 0) != 0;
    double limit = scalar_or(ref_in(c, 3), 0), most = scalar_or(ref_in(c, 2), 0);
    double least = scalar_or(floor_in, -INFINITY);
    int64_t n_found = 0;
    (void)t;
    if (boxes->rank != 3 || scores->rank != 3 || boxes->dims[2] != 4 ||
        boxes->dims[0] != scores->dims[0] || boxes->dims[1] != scores->dims[2] || out->rank != 2 ||
        out->dims[1] != 3 || c->scratch_size < nms_scratch(c, 1))
        return error_set(err, STATUS_INVALID_ARGUMENT, "boxes and scores do not fit");
    int64_t n = boxes->dims[1], classes = scores->dims[1];
    int64_t *order = c->scratch, *kept = order + n;
    for (int64_t i = 0; i < boxes->dims[0] * classes; i++) {
        struct row r = {.t = scores, .base = i * n, .step = 1, .is_largest = true};
        int64_t first = i / classes * n, n_kept = 0;
        select_row(&r, order, n, n);
        for (int64_t k = 0; k < n && (double)n_kept < most; k++) {
            bool is_free = !floor_in || ref_get(scores, r.base + order[k]) > least;
            struct box b = box_at(boxes, first + order[k], is_center);
            for (int64_t j = 0; j < n_kept && is_free; j++)
                is_free = overlap(b, box_at(boxes, first + kept[j], is_center)) <= limit;
            if (!is_free)
                continue;
            if (n_found == out->dims[0])
                return error_set(err, STATUS_INVALID_ARGUMENT, "more than %" PRId64 " boxes",
                                 n_found);
            kept[n_kept++] = order[k];
            ref_set_int(out, n_found * 3, i / classes);
            ref_set_int(out, n_found * 3 + 1, i % classes);
            ref_set_int(out, n_found * 3 + 2, order[k]);
            n_found++;
        }
    }
    out->dims[0] = n_found;
    return STATUS_OK;
}

REF_SCRATCH(NonMaxSuppression, ref_accepts_float, nms, nms_scratch)
