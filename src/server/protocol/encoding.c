#include "server/protocol/encoding.h"

#include <string.h>
#include <strings.h>
#include <zlib.h>

static const struct {
    encoding encoding;
    str name;
    int window_bits; /* zlib: which wrapper */
} encodings[] = {
    {ENCODING_IDENTITY, {"identity", 8}, 0},
    {ENCODING_GZIP, {"gzip", 4}, 15 + 16},
    {ENCODING_DEFLATE, {"deflate", 7}, 15},
};

bool encoding_from_name(str name, encoding *out) {
    for (size_t i = 0; i < ARRAY_LEN(encodings); i++)
        if (str_eq(name, encodings[i].name)) {
            *out = encodings[i].encoding;
            return true;
        }
    *out = ENCODING_IDENTITY;
    return name.n == 0;
}

str encoding_name(encoding e) {
    return encodings[e].name;
}

static double weight_of(str parameters) {
    str one;
    while (str_next(&parameters, ';', &one)) {
        one = str_trim(one);
        double weight;
        if (str_starts(one, STR("q=")))
            return str_to_double(str_slice(one, 2, one.n), &weight) ? weight : 0;
    }
    return 1;
}

encoding encoding_choose(str accept) {
    encoding best = ENCODING_IDENTITY, e;
    double best_weight = 0;
    str item;
    while (str_next(&accept, ',', &item)) {
        ptrdiff_t semicolon = str_find(item, ';');
        str name = str_trim(semicolon < 0 ? item : str_slice(item, 0, (size_t)semicolon));
        double weight =
            semicolon < 0 ? 1 : weight_of(str_slice(item, (size_t)semicolon + 1, item.n));
        if (name.n && encoding_from_name(name, &e) && weight > best_weight) {
            best = e;
            best_weight = weight;
        }
    }
    return best;
}

enum { UNPACK_STEP = 64 * 1024 };

static void inflate_done(z_stream *z) {
    inflateEnd(z);
}
static void deflate_done(z_stream *z) {
    deflateEnd(z);
}

status encoding_unpack(encoding e, str packed, struct buffer *out, struct error *err) {
    if (e == ENCODING_IDENTITY)
        return buffer_append_str(out, packed, err);
    CLEANUP(inflate_done) z_stream z = {0};
    z.next_in = (unsigned char *)(uintptr_t)packed.p;
    if (packed.n > UINT32_MAX || inflateInit2(&z, encodings[e].window_bits) != Z_OK)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "cannot unpack a body of %zu bytes",
                         packed.n);
    z.avail_in = (unsigned)packed.n;
    int code = Z_OK;
    while (code != Z_STREAM_END) {
        TRY(buffer_reserve(out, UNPACK_STEP, err));
        z.next_out = (unsigned char *)out->p + out->n;
        z.avail_out = UNPACK_STEP;
        code = inflate(&z, Z_NO_FLUSH);
        out->n += UNPACK_STEP - z.avail_out;
        if (code != Z_OK && code != Z_STREAM_END)
            return error_set(err, STATUS_INVALID_ARGUMENT, "request body is not valid %.*s: %s",
                             STR_ARG(encodings[e].name), z.msg ? z.msg : "it ends too early");
    }
    return STATUS_OK;
}

status encoding_pack(encoding e, str plain, struct buffer *out, struct error *err) {
    if (e == ENCODING_IDENTITY)
        return buffer_append_str(out, plain, err);
    CLEANUP(deflate_done) z_stream z = {0};
    if (plain.n > UINT32_MAX / 2 ||
        deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, encodings[e].window_bits, 8,
                     Z_DEFAULT_STRATEGY) != Z_OK)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED, "cannot pack a body of %zu bytes",
                         plain.n);
    size_t bound = deflateBound(&z, plain.n);
    TRY(buffer_reserve(out, bound, err));
    z.next_in = (unsigned char *)(uintptr_t)plain.p;
    z.avail_in = (unsigned)plain.n;
    z.next_out = (unsigned char *)out->p + out->n;
    z.avail_out = (unsigned)bound;
    if (deflate(&z, Z_FINISH) != Z_STREAM_END)
        return error_set(err, STATUS_INTERNAL, "cannot pack a body");
    out->n += bound - z.avail_out;
    return STATUS_OK;
}
