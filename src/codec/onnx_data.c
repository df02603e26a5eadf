/* onnx_data.c - the elements of tensors: raw, converted from typed fields, or in other files. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "codec/onnx_internal.h"
#include "codec/wire.h"

enum { NAME_SHOWN = 60 };

/* The start of every error: which tensor. */
#define TENSOR_FMT    "tensor \"%.*s\""
#define TENSOR_ARG(t) (int)((t)->name.n > NAME_SHOWN ? NAME_SHOWN : (t)->name.n), (t)->name.p

/* ---- other files ---- */

static void close_fd(int *fd) {
    if (*fd >= 0)
        close(*fd);
}

static void unmap_file(void *file) {
    file_map_close(&((struct onnx_file *)file)->map);
}

/* Opens `location` below the folder, part by part, following no symbolic link: a model must not
 * reach anything that was not put into its folder. */
static status open_below(int folder, str location, int *out, struct error *err) {
    CLEANUP(close_fd) int at = dup(folder);
    str rest = location, part;
    if (at < 0)
        return error_set(err, file_status(errno), "dup: %s", strerror(errno));
    while (str_next(&rest, '/', &part)) {
        char name[256];
        if (!part.n || str_eq_c(part, "."))
            continue;
        if (part.n >= sizeof name)
            return error_set(err, STATUS_INVALID_ARGUMENT, "a part of the path is too long");
        memcpy(name, part.p, part.n);
        name[part.n] = 0;
        int flags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
        int next = openat(at, name, rest.n ? flags | O_DIRECTORY : flags);
        if (next < 0) {
            int e = errno;
            struct stat st;
            if (fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode))
                return error_set(err, STATUS_PERMISSION_DENIED,
                                 "\"%s\" is a symbolic link, which is not followed", name);
            return error_set(err, file_status(e), "\"%s\": %s", name, strerror(e));
        }
        close(at);
        at = next;
    }
    *out = at;
    at = -1;
    return STATUS_OK;
}

static status check_location(str location, struct error *err) {
    str rest = location, part;
    if (location.p[0] == '/')
        return error_set(err, STATUS_PERMISSION_DENIED, "an absolute path is not allowed");
    if (memchr(location.p, 0, location.n))
        return error_set(err, STATUS_INVALID_ARGUMENT, "the path has a NUL byte");
    while (str_next(&rest, '/', &part))
        if (str_eq_c(part, ".."))
            return error_set(err, STATUS_PERMISSION_DENIED, "\"..\" is not allowed");
    return STATUS_OK;
}

static status map_below(struct onnx_reader_model *m, str location, struct file_map *out,
                        struct error *err) {
    CLEANUP(close_fd) int fd = -1;
    struct stat st;
    if (m->folder < 0)
        return error_set(err, STATUS_FAILED_PRECONDITION,
                         "the model was not read from a folder, so there is no external data");
    TRY(check_location(location, err));
    TRY(open_below(m->folder, location, &fd, err));
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return error_set(err, STATUS_INVALID_ARGUMENT, "it is not a regular file");
    *out = (struct file_map){.p = "", .size = (size_t)st.st_size};
    if (!st.st_size)
        return STATUS_OK;
    void *p = mmap(NULL, out->size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED)
        return error_set(err, file_status(errno), "mmap: %s", strerror(errno));
    out->p = p;
    return STATUS_OK;
}

/* The file of `t`, mapped at first use. */
static status find_file(struct onnx_reader_model *m, const struct onnx_tensor *t,
                        const struct file_map **out, struct error *err) {
    for (const struct onnx_file *f = m->files; f; f = f->next)
        if (str_eq(f->location, t->location)) {
            *out = &f->map;
            return STATUS_OK;
        }
    struct file_map map;
    if (m->n_files == ONNX_EXTERNAL_FILES_MAX)
        return error_set(err, STATUS_RESOURCE_EXHAUSTED,
                         "the model uses more than %d files of external data",
                         ONNX_EXTERNAL_FILES_MAX);
    status result = map_below(m, t->location, &map, err);
    if (result != STATUS_OK)
        return error_wrap(err, result, TENSOR_FMT ": external data in \"%.*s\"", TENSOR_ARG(t),
                          (int)(t->location.n > 100 ? 100 : t->location.n), t->location.p);
    struct onnx_file *file = arena_new(&m->arena, struct onnx_file);
    *file = (struct onnx_file){.location = t->location, .map = map, .next = m->files};
    m->files = file;
    m->n_files++;
    arena_defer(&m->arena, unmap_file, file);
    *out = &file->map;
    return STATUS_OK;
}

static status external_data(struct onnx_reader_model *m, const struct onnx_tensor *t, size_t size,
                            const void **data, struct error *err) {
    const struct file_map *map = NULL;
    if (t->has_length && t->length != size)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         TENSOR_FMT ": external length is %llu, its elements need %zu",
                         TENSOR_ARG(t), (unsigned long long)t->length, size);
    TRY(find_file(m, t, &map, err));
    if (t->offset > map->size || size > map->size - t->offset)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         TENSOR_FMT ": external data is %zu bytes at %llu, the file has %zu",
                         TENSOR_ARG(t), size, (unsigned long long)t->offset, map->size);
    *data = map->p + t->offset;
    return STATUS_OK;
}

/* ---- typed fields ---- */

/* Writes the elements of one field, little-endian, `width` bytes each; varints are cut to it. */
static bool copy_numbers(const struct wire_field *f, size_t width, char **to) {
    if (f->type != WIRE_TYPE_BYTES) {
        memcpy(*to, &f->value, width);
        *to += width;
        return true;
    }
    const char *p = f->bytes.p, *end = p + f->bytes.n;
    for (uint64_t v; p < end; *to += width) {
        if (!wire_varint(&p, end, &v))
            return false;
        memcpy(*to, &v, width);
    }
    return true;
}

static void copy_packed(const struct wire_field *f, size_t width, char **to) {
    size_t n = f->type == WIRE_TYPE_BYTES ? f->bytes.n : width;
    if (f->type == WIRE_TYPE_BYTES)
        memcpy(*to, f->bytes.p, n);
    else
        memcpy(*to, &f->value, width);
    *to += n;
}

static void copy_string(const struct wire_field *f, char **to) {
    uint32_t n = (uint32_t)f->bytes.n;
    memcpy(*to, &n, sizeof n);
    memcpy(*to + sizeof n, f->bytes.p, n);
    *to += sizeof n + n;
}

enum { FIELD_FLOAT = 4, FIELD_STRING = 6, FIELD_DOUBLE = 10 };

/* Converts all fields of the number; `size` is what the counts of the reader promise. */
static status convert_typed(const struct onnx_tensor *t, size_t width, char *to,
                            struct error *err) {
    struct wire w;
    struct wire_field f;
    wire_init(&w, t->message);
    while (wire_next(&w, &f)) {
        if (f.number != (uint32_t)t->typed_field ||
            (f.type == WIRE_TYPE_BYTES && !f.bytes.n && t->typed_field != FIELD_STRING))
            continue;
        bool good = true;
        if (t->typed_field == FIELD_STRING)
            copy_string(&f, &to);
        else if (t->typed_field == FIELD_FLOAT || t->typed_field == FIELD_DOUBLE)
            copy_packed(&f, t->typed_field == FIELD_FLOAT ? 4 : 8, &to);
        else
            good = copy_numbers(&f, width, &to);
        if (!good)
            return error_set(err, STATUS_INVALID_ARGUMENT, TENSOR_FMT ": a varint over 10 bytes",
                             TENSOR_ARG(t));
    }
    return STATUS_OK;
}

/* Bytes of a string tensor in our layout. */
static status strings_size(const struct onnx_tensor *t, size_t *out, struct error *err) {
    struct wire w;
    struct wire_field f;
    *out = 0;
    wire_init(&w, t->message);
    while (wire_next(&w, &f)) {
        if (f.number != FIELD_STRING)
            continue;
        if (f.bytes.n > UINT32_MAX)
            return error_set(err, STATUS_INVALID_ARGUMENT, TENSOR_FMT ": a string over 4 GB",
                             TENSOR_ARG(t));
        *out += sizeof(uint32_t) + f.bytes.n;
    }
    return STATUS_OK;
}

static status typed_data(struct onnx_reader_model *m, const struct onnx_tensor *t, size_t size,
                         const void **data, size_t *data_size, struct error *err) {
    unsigned bits = onnx_elem_bits(t->elem_type);
    /* A field value is an element, half of a complex one, or a byte of packed smaller ones. */
    size_t width = bits < 8 ? 1 : bits / 8;
    if (t->elem_type == ONNX_COMPLEX64 || t->elem_type == ONNX_COMPLEX128)
        width /= 2;
    size_t n_wanted = t->typed_field == FIELD_STRING ? (size_t)t->n_elements : size / width;
    if (t->n_typed != n_wanted)
        return error_set(err, STATUS_INVALID_ARGUMENT, TENSOR_FMT " has %zu values, wanted %zu",
                         TENSOR_ARG(t), t->n_typed, n_wanted);
    if (t->typed_field == FIELD_STRING)
        TRY(strings_size(t, &size, err));
    if (!t->slot->data) {
        char *bytes = buffer_alloc(size);
        if (!bytes)
            return error_set(err, STATUS_RESOURCE_EXHAUSTED, TENSOR_FMT ": no memory for %zu bytes",
                             TENSOR_ARG(t), size);
        arena_defer(&m->arena, free, bytes);
        TRY(convert_typed(t, width, bytes, err));
        *t->slot = (struct onnx_slot){.data = bytes, .size = size};
    }
    *data = t->slot->data;
    *data_size = t->slot->size;
    return STATUS_OK;
}

/* ---- all of it ---- */

status onnx_tensor_data(struct onnx_model *model, const struct onnx_tensor *t, const void **data,
                        size_t *size, struct error *err) {
    struct onnx_reader_model *m = (struct onnx_reader_model *)model;
    unsigned bits = onnx_elem_bits(t->elem_type);
    bool is_string = dtype_from_onnx(t->elem_type) == DTYPE_BYTES;
    size_t n_bits, n_bytes = 0;
    if (!bits && !is_string)
        return error_set(err, STATUS_UNIMPLEMENTED, TENSOR_FMT " has element type %d (%s)",
                         TENSOR_ARG(t), (int)t->elem_type, onnx_elem_type_name(t->elem_type));
    if (__builtin_mul_overflow((size_t)t->n_elements, (size_t)bits, &n_bits))
        return error_set(err, STATUS_INVALID_ARGUMENT, TENSOR_FMT " is too large", TENSOR_ARG(t));
    n_bytes = n_bits / 8 + (n_bits % 8 != 0);
    if (t->storage == ONNX_STORAGE_TYPED)
        return typed_data(m, t, n_bytes, data, size, err);
    if (is_string && t->storage != ONNX_STORAGE_NONE)
        return error_set(err, STATUS_INVALID_ARGUMENT, TENSOR_FMT ": strings as raw bytes",
                         TENSOR_ARG(t));
    if (t->storage == ONNX_STORAGE_EXTERNAL) {
        TRY(external_data(m, t, n_bytes, data, err));
    } else if (t->storage == ONNX_STORAGE_RAW ? t->raw.n != n_bytes : t->n_elements != 0) {
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         TENSOR_FMT " has %zu bytes of data, wanted %zu", TENSOR_ARG(t), t->raw.n,
                         n_bytes);
    } else {
        *data = t->raw.n ? t->raw.p : "";
    }
    *size = n_bytes;
    return STATUS_OK;
}
