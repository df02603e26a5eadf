#include "codec/json_tensor.h"

#include <math.h>
#include <string.h>

#include "codec/base64.h"
#include "codec/json_writer.h"
#include "codec/number_run.h"
#include "codec/utf8.h"
#include "tensor/convert.h"

/* ---- reading ---- */

struct filler {
    struct json_reader *r;
    dtype type;
    size_t width;       /* of an element; 0: BYTES */
    char *to, *end;     /* room for elements that is left */
    struct buffer *out; /* what grows, or NULL: the room is all there is */
    int64_t n, n_max;   /* elements so far; all that may come, -1: any number */

    size_t rank; /* of the nesting; NOT_KNOWN until the first element or empty array */
    int64_t dims[TENSOR_RANK_MAX];
    int64_t counts[TENSOR_RANK_MAX]; /* of the arrays that are open */
};

enum { RANK_NOT_KNOWN = TENSOR_RANK_MAX + 1, DIM_NOT_KNOWN = -1, ROOM_ELEMENTS = 4096 };

static bool fail_shape(struct filler *f, const char *text) {
    return json_fail(f->r, JSON_PROBLEM_SHAPE, STATUS_INVALID_ARGUMENT, NULL, "%s", text);
}

/* Room for one more element at least. */
static bool make_room(struct filler *f) {
    if (f->n == f->n_max)
        return json_fail(f->r, JSON_PROBLEM_SHAPE, STATUS_INVALID_ARGUMENT, NULL,
                         "more than %lld elements", (long long)f->n_max);
    if (!f->width || f->to < f->end)
        return true;
    struct error err;
    struct buffer *out = f->out;
    if (f->to)
        out->n = (size_t)(f->to - out->p);
    size_t more = ROOM_ELEMENTS * f->width;
    if (out->size_max && out->size_max - out->n < more)
        more = (out->size_max - out->n) / f->width * f->width;
    status result = buffer_reserve(out, more ? more : f->width, &err);
    if (result != STATUS_OK)
        return json_fail(f->r, JSON_PROBLEM_LIMIT, result, NULL, "%s", err.text);
    f->to = out->p + out->n;
    f->end = f->to + (more ? more : f->width);
    return true;
}

static bool is_space(char c) {
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

/* Reads numbers of a row while they are plain. Returns how many. */
static size_t read_f32_run(struct filler *f) {
    size_t n_max = (size_t)(f->end - f->to) / sizeof(float);
    str text = {.p = f->r->begin, .n = (size_t)(f->r->end - f->r->begin)};
    size_t n = number_run_read_f32(&f->r->p, text, f->to, n_max);
    f->to += n * sizeof(float);
    f->n += (int64_t)n;
    return n;
}

static bool fail_element(struct filler *f, str text, const char *what) {
    return json_fail(f->r, JSON_PROBLEM_RANGE, STATUS_INVALID_ARGUMENT, text.p,
                     "element %lld is %.*s%s, %s %s", (long long)f->n,
                     (int)(text.n > 40 ? 40 : text.n), text.p, text.n > 40 ? "..." : "", what,
                     dtype_kserve_name(f->type));
}

static bool read_integer(struct filler *f) {
    struct number n;
    str text;
    int64_t i = 0;
    uint64_t u = 0;
    if (!json_read_number(f->r, &n, &text))
        return false;
    if (!n.integral)
        return fail_element(f, text, "not an integer for");
    unsigned bits = (unsigned)f->width * 8;
    if (dtype_is_signed(f->type)) {
        int64_t max = (int64_t)(UINT64_MAX >> (65 - bits));
        if (!number_to_i64(&n, &i) || i > max || i < -max - 1)
            return fail_element(f, text, "out of range for");
        memcpy(f->to, &i, f->width);
    } else {
        if (!number_to_u64(&n, &u) || u > UINT64_MAX >> (64 - bits))
            return fail_element(f, text, "out of range for");
        memcpy(f->to, &u, f->width);
    }
    return true;
}

static bool read_float(struct filler *f) {
    struct number n;
    str text;
    if (!json_read_number(f->r, &n, &text))
        return false;
    char last = text.p[text.n - 1];
    double d;
    float v;
    if (last == 'N' || last == 'y') {
        d = last == 'N' ? (double)NAN : *text.p == '-' ? -(double)INFINITY : (double)INFINITY;
        v = (float)d;
    } else {
        const char *end = text.p + text.n;
        d = f->type == DTYPE_F64 ? number_to_f64(&n, text.p, end) : 0;
        v = f->type == DTYPE_F64 ? 0 : number_to_f32(&n, text.p, end);
    }
    uint16_t half = f->type == DTYPE_F16 ? f16_from_f32(v) : bf16_from_f32(v);
    if (f->type == DTYPE_F64)
        memcpy(f->to, &d, sizeof d);
    else if (f->type == DTYPE_F32)
        memcpy(f->to, &v, sizeof v);
    else
        memcpy(f->to, &half, sizeof half);
    return true;
}

/* {"b64": "..."} after its brace. */
static bool read_b64(struct filler *f) {
    struct json_string name, text = {0};
    struct error err;
    bool found = false;
    while (json_next_member(f->r, &name)) {
        if (found || !json_string_is(name, STR("b64")))
            return json_fail(f->r, JSON_PROBLEM_TYPE, STATUS_INVALID_ARGUMENT, NULL,
                             "element %lld: an object must have the one member \"b64\"",
                             (long long)f->n);
        found = json_read_string(f->r, &text);
    }
    if (f->r->problem)
        return false;
    if (!found || text.escaped)
        return json_fail(f->r, JSON_PROBLEM_TYPE, STATUS_INVALID_ARGUMENT, NULL,
                         "element %lld: an object must have a plain \"b64\"", (long long)f->n);
    if (base64_decode(f->out, text.raw, BASE64_STANDARD, &err) != STATUS_OK)
        return json_fail(f->r, JSON_PROBLEM_TYPE, err.code, text.raw.p, "element %lld: %s",
                         (long long)f->n, err.text);
    return true;
}

static bool read_bytes(struct filler *f) {
    struct buffer *out = f->out;
    struct json_string text;
    struct error err;
    uint32_t length = 0;
    size_t start = out->n;
    status result = buffer_append(out, &length, sizeof length, &err);
    if (result == STATUS_OK && json_peek(f->r) == JSON_OBJECT) {
        if (!json_enter_object(f->r) || !read_b64(f))
            return false;
    } else if (result == STATUS_OK) {
        if (!json_read_string(f->r, &text))
            return false;
        result = json_string_append(out, text, &err);
    }
    size_t n = out->n - start - sizeof length;
    if (result == STATUS_OK && n > UINT32_MAX)
        result = error_set(&err, STATUS_RESOURCE_EXHAUSTED, "a string over 4 GB");
    if (result != STATUS_OK)
        return json_fail(f->r, JSON_PROBLEM_LIMIT, result, NULL, "%s", err.text);
    length = (uint32_t)n;
    memcpy(out->p + start, &length, sizeof length);
    return true;
}

static bool read_element(struct filler *f) {
    bool b, good;
    if (f->type == DTYPE_BYTES)
        good = read_bytes(f);
    else if (f->type == DTYPE_BOOL && (good = json_read_bool(f->r, &b)))
        *f->to = b;
    else if (f->type == DTYPE_BOOL)
        good = false;
    else if (dtype_is_float(f->type))
        good = read_float(f);
    else
        good = read_integer(f);
    if (!good)
        return false;
    if (f->to) /* strings go elsewhere */
        f->to += f->width;
    f->n++;
    return true;
}

static void skip_space(struct json_reader *r) {
    while (r->p < r->end && is_space(*r->p))
        r->p++;
}

static bool at_char(struct json_reader *r, char c) {
    skip_space(r);
    return r->p < r->end && *r->p == c;
}

/* Reads the elements of an innermost array up to its bracket. */
static bool read_elements(struct filler *f, int64_t *count) {
    struct json_reader *r = f->r;
    int64_t start = f->n;
    for (;;) {
        if (!make_room(f))
            return false;
        if (at_char(r, '['))
            return fail_shape(f, "an array stands beside an element");
        if ((f->type != DTYPE_F32 || !read_f32_run(f)) && !read_element(f))
            return false;
        if (at_char(r, ']'))
            break;
        if (r->p == r->end || *r->p != ',')
            return json_fail(r, JSON_PROBLEM_ELEMENT_COMMA, STATUS_INVALID_ARGUMENT, NULL,
                             "neither , nor ] after an element");
        r->p++;
    }
    *count = f->n - start;
    return true;
}

/* Closes arrays that end here; false: all closed, or an error. True: the next value follows. */
static bool close_arrays(struct filler *f, size_t *depth) {
    struct json_reader *r = f->r;
    while (at_char(r, ']')) {
        r->p++;
        size_t level = --*depth;
        if (f->dims[level] == DIM_NOT_KNOWN)
            f->dims[level] = f->counts[level];
        if (f->dims[level] != f->counts[level])
            return json_fail(r, JSON_PROBLEM_SHAPE, STATUS_INVALID_ARGUMENT, NULL,
                             "an array has %lld elements, the ones before it have %lld",
                             (long long)f->counts[level], (long long)f->dims[level]);
        if (level == 0)
            return false;
        f->counts[level - 1]++;
    }
    if (r->p == r->end || *r->p != ',')
        return json_fail(r, JSON_PROBLEM_ELEMENT_COMMA, STATUS_INVALID_ARGUMENT, NULL,
                         "neither , nor ] after an element");
    r->p++;
    return true;
}

static bool open_array(struct filler *f, size_t *depth) {
    size_t deepest = f->rank == RANK_NOT_KNOWN ? TENSOR_RANK_MAX : f->rank;
    if (*depth == deepest)
        return fail_shape(f, f->rank == RANK_NOT_KNOWN
                                 ? "arrays are nested deeper than any tensor"
                                 : "an array stands where the ones before it have an element");
    f->counts[*depth] = 0;
    ++*depth;
    f->r->p++;
    return true;
}

/* The depth at which elements are found must be the same everywhere. */
static bool settle_rank(struct filler *f, size_t depth) {
    if (f->rank == RANK_NOT_KNOWN)
        f->rank = depth;
    return depth == f->rank ||
           fail_shape(f, "an element stands where the ones before it have an array");
}

static bool read_nested(struct filler *f) {
    size_t depth = 0;
    for (size_t i = 0; i < TENSOR_RANK_MAX; i++)
        f->dims[i] = DIM_NOT_KNOWN;
    f->rank = RANK_NOT_KNOWN;
    if (f->r->problem)
        return false;
    f->r->entered = false;
    do {
        while (at_char(f->r, '[')) {
            if (!open_array(f, &depth))
                return false;
            if (at_char(f->r, ']'))
                break;
        }
        bool is_empty = depth && f->counts[depth - 1] == 0 && at_char(f->r, ']');
        if (is_empty) {
            if (f->rank == RANK_NOT_KNOWN)
                f->rank = depth;
        } else {
            if (!settle_rank(f, depth))
                return false;
            if (depth == 0)
                return make_room(f) && read_element(f);
            if (!read_elements(f, &f->counts[depth - 1]))
                return false;
        }
    } while (close_arrays(f, &depth));
    return !f->r->problem;
}

/* Is what was read the shape that was wanted: flat, or the same nesting? */
static bool check_dims(struct filler *f, const int64_t *dims, size_t rank) {
    bool flat = f->rank == 1 && f->n == f->n_max;
    bool same = f->rank == rank;
    for (size_t i = 0; same && i < rank; i++) /* what an empty array hides is not known */
        same = f->dims[i] == dims[i];
    if (f->n_max == 0 && f->n == 0 && f->rank <= rank)
        same = true; /* [] and [[]] for [0, 4] and [1, 0] */
    if (flat || same)
        return true;
    char found[DIMS_TEXT_SIZE], wanted[DIMS_TEXT_SIZE];
    return json_fail(f->r, JSON_PROBLEM_SHAPE, STATUS_INVALID_ARGUMENT, NULL,
                     "the array that ends here has shape %s, wanted %s",
                     dims_format(f->dims, f->rank, found), dims_format(dims, rank, wanted));
}

bool json_tensor_read(struct json_reader *r, const struct tensor *t) {
    size_t size;
    struct filler f = {.r = r, .type = t->dtype, .width = dtype_size(t->dtype), .to = t->data};
    f.n_max = tensor_n_elements(t);
    if (!f.width || !tensor_size(t->dtype, t->dims, t->rank, &size) || size != t->size)
        return json_fail(r, JSON_PROBLEM_SHAPE, STATUS_INVALID_ARGUMENT, NULL,
                         "the shape does not match %zu bytes of %s", t->size,
                         dtype_kserve_name(t->dtype));
    f.end = f.to ? f.to + size : NULL;
    bool allow_nan = r->allow_nan;
    r->allow_nan = true;
    bool good = read_nested(&f) && check_dims(&f, t->dims, t->rank);
    r->allow_nan = allow_nan;
    return good;
}

bool json_tensor_read_bytes(struct json_reader *r, const int64_t *dims, size_t rank,
                            struct buffer *out) {
    struct filler f = {.r = r, .type = DTYPE_BYTES, .out = out};
    f.n_max = dims_product(dims, rank);
    if (f.n_max < 0)
        return json_fail(r, JSON_PROBLEM_SHAPE, STATUS_INVALID_ARGUMENT, NULL,
                         "the shape has too many elements");
    return read_nested(&f) && check_dims(&f, dims, rank);
}

bool json_tensor_read_any(struct json_reader *r, dtype t, struct buffer *out,
                          int64_t dims[TENSOR_RANK_MAX], size_t *rank) {
    struct filler f = {.r = r, .type = t, .width = dtype_size(t), .out = out, .n_max = -1};
    bool allow_nan = r->allow_nan;
    r->allow_nan = true;
    bool good = read_nested(&f);
    r->allow_nan = allow_nan;
    if (!good)
        return false;
    if (f.width && f.to)
        out->n = (size_t)(f.to - out->p);
    for (size_t i = 0; i < f.rank; i++)
        dims[i] = f.dims[i];
    *rank = f.rank;
    return true;
}

/* ---- writing ---- */

struct source {
    const struct tensor *t;
    const char *p, *end; /* elements that are still to come */
    unsigned style;
};

static float load_f32(dtype t, const char *p) {
    float f;
    uint16_t half;
    if (t == DTYPE_F32) {
        memcpy(&f, p, sizeof f);
        return f;
    }
    memcpy(&half, p, sizeof half);
    return t == DTYPE_F16 ? f16_to_f32(half) : bf16_to_f32(half);
}

/* Writes a fixed-size element at `out`, which has NUMBER_TEXT_SIZE bytes. */
static size_t format_element(dtype t, const char *p, char *out) {
    uint64_t u = 0;
    double d;
    size_t width = dtype_size(t);
    switch (t) {
    case DTYPE_F64:
        memcpy(&d, p, sizeof d);
        return number_format_f64(out, d);
    case DTYPE_F32:
    case DTYPE_F16:
    case DTYPE_BF16:
        return number_format_f32(out, load_f32(t, p));
    case DTYPE_BOOL:
        memcpy(out, *p ? "true" : "false", 5);
        return *p ? 4 : 5;
    default:
        memcpy(&u, p, width);
        if (!dtype_is_signed(t))
            return number_format_u64(out, u);
        unsigned unused = 64 - (unsigned)width * 8;
        return number_format_i64(out, (int64_t)(u << unused) >> unused);
    }
}

static status write_numbers(struct buffer *out, struct source *s, int64_t n, struct error *err) {
    enum { CHUNK = 256 };
    dtype type = s->t->dtype;
    size_t width = dtype_size(type);
    while (n) {
        int64_t chunk = n < CHUNK ? n : CHUNK;
        TRY(buffer_reserve(out, (size_t)chunk * (NUMBER_TEXT_SIZE + 1), err));
        char *to = out->p + out->n;
        if (type == DTYPE_F32) {
            to = number_run_write_f32(to, s->p, (size_t)chunk);
        } else {
            for (int64_t i = 0; i < chunk; i++) {
                to += format_element(type, s->p + (size_t)i * width, to);
                *to++ = ',';
            }
        }
        s->p += (size_t)chunk * width;
        out->n = (size_t)(to - out->p);
        n -= chunk;
    }
    out->n--; /* the last comma */
    return STATUS_OK;
}

static status write_bytes(struct buffer *out, struct source *s, int64_t n, struct error *err) {
    for (int64_t i = 0; i < n; i++) {
        uint32_t length;
        if ((size_t)(s->end - s->p) < sizeof length)
            return error_set(err, STATUS_INVALID_ARGUMENT, "BYTES element is cut off");
        memcpy(&length, s->p, sizeof length);
        s->p += sizeof length;
        if ((size_t)(s->end - s->p) < length)
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "BYTES element says %u bytes, %zu are there", length,
                             (size_t)(s->end - s->p));
        str text = {.p = s->p, .n = length};
        s->p += length;
        if (i)
            TRY(buffer_append(out, ",", 1, err));
        if (utf8_is_valid(text)) {
            TRY(json_quote(out, text, err));
        } else if (s->style & JSON_TENSOR_B64) {
            TRY(buffer_append_str(out, STR("{\"b64\":\""), err));
            TRY(base64_encode(out, text.p, text.n, BASE64_STANDARD, err));
            TRY(buffer_append_str(out, STR("\"}"), err));
        } else {
            return error_set(err, STATUS_INVALID_ARGUMENT,
                             "a BYTES element is not UTF-8 and cannot be a JSON string: ask for "
                             "binary data");
        }
    }
    return STATUS_OK;
}

static status write_run(struct buffer *out, struct source *s, int64_t n, struct error *err) {
    if (n == 0)
        return STATUS_OK;
    return s->t->dtype == DTYPE_BYTES ? write_bytes(out, s, n, err) : write_numbers(out, s, n, err);
}

static status write_level(struct buffer *out, struct source *s, size_t level, struct error *err) {
    const struct tensor *t = s->t;
    if (level == t->rank)
        return write_run(out, s, 1, err);
    TRY(buffer_append(out, "[", 1, err));
    if (level + 1 == t->rank) {
        TRY(write_run(out, s, t->dims[level], err));
    } else {
        for (int64_t i = 0; i < t->dims[level]; i++) {
            if (i)
                TRY(buffer_append(out, ",", 1, err));
            TRY(write_level(out, s, level + 1, err));
        }
    }
    return buffer_append(out, "]", 1, err);
}

status json_tensor_write(struct buffer *out, const struct tensor *t, unsigned style,
                         struct error *err) {
    int64_t n = tensor_n_elements(t);
    size_t size;
    bool fixed = t->dtype != DTYPE_BYTES;
    if (n < 0 || (fixed && (!tensor_size(t->dtype, t->dims, t->rank, &size) || size != t->size)))
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "a tensor of %zu bytes does not match its "
                         "shape",
                         t->size);
    struct source s = {.t = t, .p = t->data, .style = style};
    s.end = s.p ? s.p + t->size : NULL;
    if (style & JSON_TENSOR_NESTED) {
        TRY(write_level(out, &s, 0, err));
    } else {
        TRY(buffer_append(out, "[", 1, err));
        TRY(write_run(out, &s, n, err));
        TRY(buffer_append(out, "]", 1, err));
    }
    if (!fixed && s.p != s.end)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "BYTES tensor has %zu bytes after its %lld elements",
                         (size_t)(s.end - s.p), (long long)n);
    return STATUS_OK;
}
