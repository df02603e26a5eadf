#include "codec/npy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "codec/utf8.h"

static const char magic[6] = "\x93NUMPY";

enum { PREFIX_SIZE = 8, HEADER_SIZE_MAX = 64 * 1024, DESCR_SIZE = 32, ALIGNMENT = 64 };

/* ---- the header: a Python dict of three known keys ---- */

struct header {
    str descr;
    bool fortran_order;
    size_t rank;
    int64_t dims[TENSOR_RANK_MAX];
    bool has_descr, has_order, has_shape;
};

struct parser {
    const char *p, *end, *begin;
    struct error *err;
};

static status fail(struct parser *s, const char *wanted) {
    return error_set(s->err, STATUS_INVALID_ARGUMENT, "npy header, byte %zu: wanted %s",
                     (size_t)(s->p - s->begin), wanted);
}

static void skip_space(struct parser *s) {
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\n' || *s->p == '\t'))
        s->p++;
}

/* Takes `c` if it comes next. */
static bool take(struct parser *s, char c) {
    skip_space(s);
    if (s->p == s->end || *s->p != c)
        return false;
    s->p++;
    return true;
}

static status parse_string(struct parser *s, str *out) {
    skip_space(s);
    char quote = s->p < s->end ? *s->p : 0;
    if (quote == '[')
        return error_set(s->err, STATUS_UNIMPLEMENTED,
                         "npy has a structured dtype: save each field in a file of its own");
    if (quote != '\'' && quote != '"')
        return fail(s, "a quoted text");
    const char *start = s->p + 1, *close = memchr(start, quote, (size_t)(s->end - start));
    if (!close)
        return fail(s, "the end of a quoted text");
    *out = (str){.p = start, .n = (size_t)(close - start)};
    s->p = close + 1;
    return STATUS_OK;
}

static status parse_bool(struct parser *s, bool *out) {
    skip_space(s);
    str rest = {.p = s->p, .n = (size_t)(s->end - s->p)};
    *out = str_starts(rest, STR("True"));
    if (!*out && !str_starts(rest, STR("False")))
        return fail(s, "True or False");
    s->p += *out ? 4 : 5;
    return STATUS_OK;
}

static status parse_shape(struct parser *s, struct header *h) {
    if (!take(s, '('))
        return fail(s, "a shape in parentheses");
    while (!take(s, ')')) {
        const char *start = s->p;
        while (s->p < s->end && *s->p >= '0' && *s->p <= '9')
            s->p++;
        str digits = {.p = start, .n = (size_t)(s->p - start)};
        if (h->rank == TENSOR_RANK_MAX)
            return error_set(s->err, STATUS_UNIMPLEMENTED, "npy has more than %d dims",
                             TENSOR_RANK_MAX);
        if (!str_to_int64(digits, &h->dims[h->rank]))
            return fail(s, "a dim");
        h->rank++;
        if (!take(s, ',')) {
            if (!take(s, ')'))
                return fail(s, ", or )");
            return STATUS_OK;
        }
    }
    return STATUS_OK;
}

static status parse_member(struct parser *s, struct header *h) {
    str key;
    TRY(parse_string(s, &key));
    if (!take(s, ':'))
        return fail(s, ":");
    if (str_eq_c(key, "descr") && !h->has_descr) {
        h->has_descr = true;
        return parse_string(s, &h->descr);
    }
    if (str_eq_c(key, "fortran_order") && !h->has_order) {
        h->has_order = true;
        return parse_bool(s, &h->fortran_order);
    }
    if (str_eq_c(key, "shape") && !h->has_shape) {
        h->has_shape = true;
        return parse_shape(s, h);
    }
    return fail(s, "each of descr, fortran_order and shape once");
}

static status parse_header(str text, struct header *h, struct error *err) {
    struct parser s = {.p = text.p, .end = text.p + text.n, .begin = text.p, .err = err};
    if (!take(&s, '{'))
        return fail(&s, "{");
    while (!take(&s, '}')) {
        TRY(parse_member(&s, h));
        if (!take(&s, ',')) {
            if (!take(&s, '}'))
                return fail(&s, ", or }");
            break;
        }
    }
    skip_space(&s);
    if (s.p != s.end || !h->has_descr || !h->has_order || !h->has_shape)
        return fail(&s, "descr, fortran_order and shape and nothing else");
    return STATUS_OK;
}

/* Splits a file into header text and data. */
static status split(str file, str *header, str *data, struct error *err) {
    const unsigned char *p = (const unsigned char *)file.p;
    if (file.n < PREFIX_SIZE + 4 || memcmp(p, magic, sizeof magic) != 0)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "not an npy file: it does not start with "
                         "\\x93NUMPY");
    unsigned version = p[6];
    if (version < 1 || version > 3)
        return error_set(err, STATUS_UNIMPLEMENTED, "npy version %u, known are 1 to 3", version);
    size_t start = version == 1 ? PREFIX_SIZE + 2 : PREFIX_SIZE + 4;
    size_t size = p[8] | (size_t)p[9] << 8;
    if (version > 1)
        size |= (size_t)p[10] << 16 | (size_t)p[11] << 24;
    if (size > HEADER_SIZE_MAX || size > file.n - start)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "npy header of %zu bytes, the file has %zu and at most %d are read", size,
                         file.n, HEADER_SIZE_MAX);
    *header = str_slice(file, start, start + size);
    *data = str_slice(file, start + size, file.n);
    return STATUS_OK;
}

/* ---- strings ---- */

static void free_data(void *arg, void *data, size_t size) {
    (void)arg, (void)size;
    free(data);
}

/* One '<U' element, UTF-32 with trailing NULs, as UTF-8. */
static status append_utf32(struct buffer *out, const char *p, size_t n_chars, struct error *err) {
    uint32_t c = 0;
    for (; n_chars; n_chars--) {
        memcpy(&c, p + (n_chars - 1) * 4, sizeof c);
        if (c)
            break;
    }
    for (size_t i = 0; i < n_chars; i++) {
        char text[4];
        memcpy(&c, p + i * 4, sizeof c);
        if (c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
            return error_set(err, STATUS_INVALID_ARGUMENT, "npy text has the code point 0x%x", c);
        TRY(buffer_append(out, text, utf8_encode(c, text), err));
    }
    return STATUS_OK;
}

static status convert_strings(struct buffer *out, str data, size_t n, size_t width, bool utf32,
                              struct error *err) {
    for (size_t i = 0; i < n; i++) {
        const char *p = data.p + i * width;
        size_t start = out->n, length = width;
        TRY(buffer_append(out, "\0\0\0\0", 4, err));
        if (utf32) {
            TRY(append_utf32(out, p, width / 4, err));
        } else {
            while (length && !p[length - 1])
                length--;
            TRY(buffer_append(out, p, length, err));
        }
        uint32_t written = (uint32_t)(out->n - start - 4);
        memcpy(out->p + start, &written, sizeof written);
    }
    return STATUS_OK;
}

/* The width of a string dtype in bytes; 0: it is none. */
static size_t string_width(str descr, bool *utf32) {
    int64_t n;
    str kind = str_slice(descr, 0, 2);
    *utf32 = str_eq_c(kind, "<U");
    if ((!*utf32 && !str_eq_c(kind, "|S")) || !str_to_int64(str_slice(descr, 2, descr.n), &n) ||
        n < 1 || n > INT32_MAX / 4)
        return 0;
    return (size_t)n * (*utf32 ? 4 : 1);
}

static status read_strings(struct tensor *t, str data, size_t width, bool utf32,
                           struct error *err) {
    size_t n = (size_t)dims_product(t->dims, t->rank), size;
    if (__builtin_mul_overflow(n, width, &size) || size != data.n)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "npy has %zu bytes of data, its shape needs %zu texts of %zu bytes",
                         data.n, n, width);
    struct buffer out = {0};
    status result = convert_strings(&out, data, n, width, utf32, err);
    if (result != STATUS_OK) {
        buffer_done(&out);
        return result;
    }
    t->dtype = DTYPE_BYTES;
    t->data = out.p;
    t->size = out.n;
    t->release = free_data;
    return STATUS_OK;
}

/* ---- reading ---- */

static status fail_descr(str descr, struct error *err) {
    char shown[DESCR_SIZE];
    size_t n = descr.n < sizeof shown - 1 ? descr.n : sizeof shown - 1;
    memcpy(shown, descr.p, n);
    shown[n] = 0;
    const char *hint = *shown == '>' ? "save it little-endian: a.astype(a.dtype.newbyteorder('<'))"
                       : strchr(shown, 'O')
                           ? "Python objects are not read: save text as a.astype('U')"
                       : *shown == '|' ? "only bool, int8, uint8 and text are one byte wide"
                                       : "convert it with a.astype(...) first";
    return error_set(err, STATUS_UNIMPLEMENTED, "npy dtype '%s' is not supported: %s", shown, hint);
}

status npy_read(struct tensor *out, str file, struct error *err) {
    struct header h = {0};
    struct tensor t = {0};
    str header = {0}, data = {0};
    bool utf32 = false;
    size_t size = 0;
    TRY(split(file, &header, &data, err));
    TRY(parse_header(header, &h, err));
    if (h.fortran_order && h.rank > 1)
        return error_set(err, STATUS_UNIMPLEMENTED,
                         "npy is in Fortran order: save numpy.ascontiguousarray(a) instead");
    t.rank = (uint8_t)h.rank;
    memcpy(t.dims, h.dims, sizeof t.dims);
    if (dims_product(t.dims, t.rank) < 0)
        return error_set(err, STATUS_INVALID_ARGUMENT, "npy shape has too many elements");
    size_t width = string_width(h.descr, &utf32);
    if (width) {
        TRY(read_strings(&t, data, width, utf32, err));
        *out = t;
        return STATUS_OK;
    }
    t.dtype = str_eq_c(h.descr, "|V2") ? DTYPE_BF16 : dtype_from_numpy_descr(h.descr);
    if (t.dtype == DTYPE_NONE || t.dtype == DTYPE_BYTES)
        return fail_descr(h.descr, err);
    if (!tensor_size(t.dtype, t.dims, t.rank, &size) || size != data.n) {
        char dims[DIMS_TEXT_SIZE];
        return error_set(err, STATUS_INVALID_ARGUMENT, "npy has %zu bytes of data, %s %s needs %zu",
                         data.n, dtype_kserve_name(t.dtype), dims_format(t.dims, t.rank, dims),
                         size);
    }
    /* The tensor borrows; nobody writes through an input. */
    t.data = (void *)(uintptr_t)data.p;
    t.size = size;
    *out = t;
    return STATUS_OK;
}

static void unmap(void *arg, void *data, size_t size) {
    (void)data, (void)size;
    file_map_close(arg);
    free(arg);
}

static void free_map(struct file_map *m) {
    file_map_close(m);
    free(m);
}
DEFINE_CLEANUP(struct file_map, free_map)

status npy_open(struct tensor *out, const char *path, struct error *err) {
    CLEANUP(free_mapp) struct file_map *map = calloc(1, sizeof *map);
    if (!map)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "\"%s\": no memory", path);
    TRY(file_map_open(map, path, err));
    status result = npy_read(out, (str){.p = map->p, .n = map->size}, err);
    if (result != STATUS_OK)
        return error_wrap(err, result, "\"%s\"", path);
    if (!out->release) { /* a view */
        out->release = unmap;
        out->release_arg = TAKE(map);
    }
    return STATUS_OK;
}

/* ---- writing ---- */

/* The longest element of a BYTES tensor, after checking all of them. */
static status longest_element(const struct tensor *t, uint32_t *out, struct error *err) {
    const char *p = t->data;
    size_t left = t->size;
    *out = 1;
    for (int64_t i = 0, n = tensor_n_elements(t); i < n; i++) {
        uint32_t length = 0;
        if (left >= sizeof length)
            memcpy(&length, p, sizeof length);
        if (left < sizeof length || left - sizeof length < length)
            return error_set(err, STATUS_INVALID_ARGUMENT, "BYTES element %lld is cut off",
                             (long long)i);
        p += sizeof length + length;
        left -= sizeof length + length;
        *out = length > *out ? length : *out;
    }
    return STATUS_OK;
}

static status append_header(struct buffer *out, const char *descr, const struct tensor *t,
                            struct error *err) {
    struct buffer text = {0};
    status result =
        buffer_printf(&text, err, "{'descr': '%s', 'fortran_order': False, 'shape': (", descr);
    for (size_t i = 0; i < t->rank && result == STATUS_OK; i++)
        result = buffer_printf(&text, err,
                               t->rank == 1 ? "%lld,"
                               : i          ? ", %lld"
                                            : "%lld",
                               (long long)t->dims[i]);
    if (result == STATUS_OK)
        result = buffer_append_str(&text, STR("), }"), err);
    while (result == STATUS_OK && (PREFIX_SIZE + 2 + text.n + 1) % ALIGNMENT)
        result = buffer_append(&text, " ", 1, err);
    if (result == STATUS_OK)
        result = buffer_append(&text, "\n", 1, err);
    char prefix[PREFIX_SIZE + 2] = "\x93NUMPY\1";
    uint16_t size = (uint16_t)text.n;
    memcpy(prefix + PREFIX_SIZE, &size, sizeof size);
    if (result == STATUS_OK)
        result = buffer_append(out, prefix, sizeof prefix, err);
    if (result == STATUS_OK)
        result = buffer_append_str(out, buffer_str(&text), err);
    buffer_done(&text);
    return result;
}

static status append_strings(struct buffer *out, const struct tensor *t, struct error *err) {
    uint32_t width;
    char descr[DESCR_SIZE];
    TRY(longest_element(t, &width, err));
    snprintf(descr, sizeof descr, "|S%u", width);
    TRY(append_header(out, descr, t, err));
    const char *p = t->data;
    for (int64_t i = 0, n = tensor_n_elements(t); i < n; i++) {
        uint32_t length;
        memcpy(&length, p, sizeof length);
        TRY(buffer_reserve(out, width, err));
        memset(out->p + out->n, 0, width);
        memcpy(out->p + out->n, p + sizeof length, length);
        out->n += width;
        p += sizeof length + length;
    }
    return STATUS_OK;
}

status npy_write(struct buffer *out, const struct tensor *t, struct error *err) {
    size_t size;
    if (t->dtype == DTYPE_BYTES)
        return append_strings(out, t, err);
    if (!tensor_size(t->dtype, t->dims, t->rank, &size) || size != t->size)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "a tensor of %zu bytes does not match its shape", t->size);
    TRY(append_header(out, dtype_numpy_descr(t->dtype), t, err));
    return buffer_append(out, t->data, t->size, err);
}

status npy_save(const char *path, const struct tensor *t, struct error *err) {
    struct buffer file = {0};
    status result = npy_write(&file, t, err);
    if (result == STATUS_OK)
        result = file_write(path, file.p, file.n, err);
    buffer_done(&file);
    return result;
}
