#include "codec/onnx.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/file.h"
#include "support/test.h"

/* ---- a writer of wire format, just enough to make models ---- */

struct message {
    struct buffer b;
};

static void put_varint(struct message *m, uint64_t v) {
    char byte;
    do {
        byte = (char)((v & 0x7f) | (v > 0x7f ? 0x80 : 0));
        if (buffer_append(&m->b, &byte, 1, NULL) != STATUS_OK)
            abort();
        v >>= 7;
    } while (v);
}

static void put_int(struct message *m, unsigned field, int64_t v) {
    put_varint(m, field << 3);
    put_varint(m, (uint64_t)v);
}

static void put_bytes(struct message *m, unsigned field, const void *p, size_t n) {
    put_varint(m, field << 3 | 2);
    put_varint(m, n);
    if (buffer_append(&m->b, p, n, NULL) != STATUS_OK)
        abort();
}

static void put_text(struct message *m, unsigned field, const char *text) {
    put_bytes(m, field, text, strlen(text));
}

/* Puts `part` into `m` and frees it. */
static void put_message(struct message *m, unsigned field, struct message *part) {
    put_bytes(m, field, part->b.p, part->b.n);
    buffer_done(&part->b);
}

static struct message tensor_of(const char *name, int elem_type, size_t n_dims,
                                const int64_t *dims) {
    struct message t = {0};
    for (size_t i = 0; i < n_dims; i++)
        put_int(&t, 1, dims[i]);
    put_int(&t, 2, elem_type);
    put_text(&t, 8, name);
    return t;
}

static struct message entry_of(const char *key, const char *value) {
    struct message e = {0};
    put_text(&e, 1, key);
    put_text(&e, 2, value);
    return e;
}

/* A model whose graph has nothing but the initializer `t`, which it frees. */
static struct message model_of(struct message *t) {
    struct message graph = {0}, model = {0};
    put_message(&graph, 5, t);
    put_int(&model, 1, 8);
    put_message(&model, 7, &graph);
    return model;
}

static struct onnx_model *read_whole(struct message *m, const char *folder) {
    struct onnx_model *model = NULL;
    struct error err = {0};
    if (onnx_model_read(&model, m->b.p, m->b.n, folder, &err) != STATUS_OK)
        test_fail(__FILE__, __LINE__, "%s", err.text);
    return model;
}

/* ---- structure ---- */

static struct message small_model(void) {
    struct message dim = {0}, shape = {0}, tensor_type = {0}, type = {0}, input = {0};
    put_text(&dim, 2, "batch");
    put_message(&shape, 1, &dim);
    put_int(&dim, 1, 4);
    put_message(&shape, 1, &dim);
    put_int(&dim, 1, -1);
    put_message(&shape, 1, &dim);
    put_int(&tensor_type, 1, 1);
    put_message(&tensor_type, 2, &shape);
    put_message(&type, 1, &tensor_type);
    put_text(&input, 1, "x");
    put_message(&input, 2, &type);

    struct message ints = {0}, axes = {0}, alpha = {0}, node = {0};
    put_varint(&ints, 1);
    put_varint(&ints, (uint64_t)-2);
    put_text(&axes, 1, "axes");
    put_message(&axes, 8, &ints); /* packed */
    put_int(&axes, 8, 300);       /* and not */
    put_int(&axes, 20, ONNX_ATTRIBUTE_INTS);
    put_text(&alpha, 1, "alpha"); /* no type: an old file */
    put_varint(&alpha, 2 << 3 | 5);
    if (buffer_append(&alpha.b, &(float){0.5f}, 4, NULL) != STATUS_OK)
        abort();
    put_text(&node, 1, "x");
    put_text(&node, 1, "");
    put_text(&node, 2, "y");
    put_text(&node, 4, "Thing");
    put_text(&node, 7, "com.example");
    put_message(&node, 5, &axes);
    put_message(&node, 5, &alpha);

    struct message sub = {0}, sub_graph = {0}, then = {0}, branch = {0}, graph = {0};
    put_text(&sub, 4, "Identity");
    put_message(&sub_graph, 1, &sub);
    put_text(&branch, 1, "then_branch");
    put_message(&branch, 6, &sub_graph);
    put_int(&branch, 20, ONNX_ATTRIBUTE_GRAPH);
    put_text(&then, 4, "If");
    put_message(&then, 5, &branch);
    put_text(&graph, 2, "main");
    put_message(&graph, 1, &node);
    put_message(&graph, 1, &then);
    put_message(&graph, 11, &input);

    struct message opset = {0}, meta = entry_of("author", "us"), model = {0};
    put_int(&opset, 2, 21);
    put_int(&model, 1, 10);
    put_text(&model, 2, "test");
    put_message(&model, 7, &graph);
    put_message(&model, 8, &opset);
    put_message(&model, 14, &meta);
    put_int(&model, 99, 1); /* from a later version */
    return model;
}

TEST(onnx_reads_a_model_into_structs) {
    struct message bytes = small_model();
    CLEANUP(onnx_model_freep) struct onnx_model *m = read_whole(&bytes, NULL);
    CHECK_EQ(m->ir_version, 10);
    CHECK(str_eq_c(m->producer_name, "test") && str_eq_c(m->graph.name, "main"));
    CHECK_EQ(m->n_opsets, 1);
    CHECK_EQ(m->opsets[0].version, 21);
    CHECK(str_eq_c(m->metadata[0].key, "author") && str_eq_c(m->metadata[0].value, "us"));
    CHECK_EQ(m->graph.n_nodes, 2);
    const struct onnx_node *node = &m->graph.nodes[0];
    CHECK(str_eq_c(node->op_type, "Thing") && str_eq_c(node->domain, "com.example"));
    CHECK(node->n_inputs == 2 && node->inputs[1].n == 0 && node->n_outputs == 1);
    const struct onnx_attribute *axes = onnx_attribute_find(node, "axes");
    CHECK_EQ(axes->n, 3);
    CHECK(axes->ints[0] == 1 && axes->ints[1] == -2 && axes->ints[2] == 300);
    const struct onnx_attribute *alpha = onnx_attribute_find(node, "alpha");
    CHECK(alpha->type == ONNX_ATTRIBUTE_FLOAT && alpha->f == 0.5f);
    CHECK(!onnx_attribute_find(node, "beta"));
    const struct onnx_attribute *branch = &m->graph.nodes[1].attributes[0];
    CHECK(str_eq_c(branch->g->nodes[0].op_type, "Identity"));
    const struct onnx_type *type = &m->graph.inputs[0].type;
    CHECK(type->kind == ONNX_TYPE_TENSOR && type->elem_type == 1 && type->has_shape);
    CHECK_EQ(type->n_dims, 3);
    CHECK(str_eq_c(type->dims[0].param, "batch") && type->dims[0].value == -1);
    CHECK(type->dims[1].value == 4 && type->dims[2].value == -1);
    buffer_done(&bytes.b);
}

/* ---- elements ---- */

/* Reads the only initializer of the model of `t` and compares its elements. */
static void check_data(struct message *t, const void *want, size_t size) {
    struct message bytes = model_of(t);
    CLEANUP(onnx_model_freep) struct onnx_model *m = read_whole(&bytes, NULL);
    const void *data = NULL, *again = NULL;
    size_t got = 0;
    struct error err = {0};
    status s = onnx_tensor_data(m, &m->graph.initializers[0], &data, &got, &err);
    if (s != STATUS_OK)
        test_fail(__FILE__, __LINE__, "%s", err.text);
    CHECK_EQ(got, size);
    CHECK(got == size && !memcmp(data, want, size));
    CHECK(onnx_tensor_data(m, &m->graph.initializers[0], &again, &got, &err) == STATUS_OK);
    CHECK(again == data);
    buffer_done(&bytes.b);
}

TEST(onnx_gives_the_elements_of_every_storage) {
    int64_t three[] = {3};
    struct message t = tensor_of("raw", 1, 1, three);
    float floats[] = {1, -2, 0.5f};
    put_bytes(&t, 9, floats, sizeof floats);
    check_data(&t, floats, sizeof floats);

    t = tensor_of("float_data", 1, 1, three);
    put_bytes(&t, 4, floats, sizeof floats);
    check_data(&t, floats, sizeof floats);

    t = tensor_of("int8 in int32_data", 3, 1, three);
    for (int64_t i = -1; i < 2; i++)
        put_int(&t, 5, i);
    check_data(&t, "\xff\0\1", 3);

    t = tensor_of("int64_data", 7, 1, three);
    struct message packed = {0};
    int64_t ints[] = {-5, 0, INT64_MAX};
    for (size_t i = 0; i < 3; i++)
        put_varint(&packed, (uint64_t)ints[i]);
    put_message(&t, 7, &packed);
    check_data(&t, ints, sizeof ints);

    t = tensor_of("strings", 8, 1, three);
    put_text(&t, 6, "a");
    put_text(&t, 6, "");
    put_text(&t, 6, "bc");
    check_data(&t, "\1\0\0\0a\0\0\0\0\2\0\0\0bc", 15);

    t = tensor_of("int4", ONNX_INT4, 1, three);
    put_bytes(&t, 9, "\x21\x03", 2);
    check_data(&t, "\x21\x03", 2);

    t = tensor_of("empty", 1, 1, (int64_t[]){0});
    check_data(&t, "", 0);

    t = tensor_of("scalar", 9, 0, NULL);
    put_int(&t, 5, 1);
    check_data(&t, "\1", 1);
}

static void check_data_error(struct message *t, const char *folder, const char *want) {
    struct message bytes = model_of(t);
    CLEANUP(onnx_model_freep) struct onnx_model *m = read_whole(&bytes, folder);
    const void *data;
    size_t size;
    struct error err = {0};
    CHECK(onnx_tensor_data(m, &m->graph.initializers[0], &data, &size, &err) != STATUS_OK);
    CHECK_STR(err.text, want);
    buffer_done(&bytes.b);
}

TEST(onnx_refuses_elements_that_do_not_fit_the_dims) {
    int64_t three[] = {3};
    struct message t = tensor_of("w", 1, 1, three);
    put_bytes(&t, 9, "12345678", 8);
    check_data_error(&t, NULL, "tensor \"w\" has 8 bytes of data, wanted 12");
    t = tensor_of("w", 1, 1, three);
    check_data_error(&t, NULL, "tensor \"w\" has 0 bytes of data, wanted 12");
    t = tensor_of("w", 7, 1, three);
    put_int(&t, 7, 1);
    check_data_error(&t, NULL, "tensor \"w\" has 1 values, wanted 3");
    t = tensor_of("w", 99, 1, three);
    check_data_error(&t, NULL, "tensor \"w\" has element type 99 (UNKNOWN)");
}

/* ---- external data ---- */

static struct message external_tensor(const char *location, const char *offset,
                                      const char *length) {
    struct message t = tensor_of("w", 1, 1, (int64_t[]){2}), e = entry_of("location", location);
    put_message(&t, 13, &e);
    if (offset) {
        e = entry_of("offset", offset);
        put_message(&t, 13, &e);
    }
    if (length) {
        e = entry_of("length", length);
        put_message(&t, 13, &e);
    }
    put_int(&t, 14, 1);
    return t;
}

TEST(onnx_maps_external_data_and_stays_in_its_folder) {
    char folder[] = "/tmp/onnx_test_XXXXXX", path[100];
    struct error err = {0};
    CHECK(mkdtemp(folder));
    float values[] = {7, 1, 2};
    snprintf(path, sizeof path, "%s/sub", folder);
    CHECK_EQ(mkdir(path, 0700), 0);
    snprintf(path, sizeof path, "%s/sub/w.bin", folder);
    CHECK_EQ(file_write(path, values, sizeof values, &err), STATUS_OK);
    snprintf(path, sizeof path, "%s/link", folder);
    CHECK_EQ(symlink("/etc", path), 0);
    snprintf(path, sizeof path, "%s/model.onnx", folder);

    struct message t = external_tensor("sub/./w.bin", "4", "8"), bytes = model_of(&t);
    CHECK_EQ(file_write(path, bytes.b.p, bytes.b.n, &err), STATUS_OK);
    struct onnx_model *m = NULL;
    CHECK_EQ(onnx_model_open(&m, path, &err), STATUS_OK);
    const void *data = NULL;
    size_t size = 0;
    CHECK_EQ(onnx_tensor_data(m, &m->graph.initializers[0], &data, &size, &err), STATUS_OK);
    CHECK(size == 8 && !memcmp(data, values + 1, 8));
    onnx_model_free(m);
    buffer_done(&bytes.b);

    static const struct {
        const char *location, *offset, *length, *error;
    } cases[] = {
        {"../w.bin", NULL, NULL,
         "tensor \"w\": external data in \"../w.bin\": \"..\" is not allowed"},
        {"sub/../../w.bin", NULL, NULL,
         "tensor \"w\": external data in \"sub/../../w.bin\": \"..\" is not allowed"},
        {"/etc/passwd", NULL, NULL,
         "tensor \"w\": external data in \"/etc/passwd\": an absolute path is not allowed"},
        {"link/passwd", NULL, NULL,
         "tensor \"w\": external data in \"link/passwd\": \"link\" is a symbolic link, which is "
         "not followed"},
        {"none", NULL, NULL,
         "tensor \"w\": external data in \"none\": \"none\": No such file or directory"},
        {"sub", NULL, NULL, "tensor \"w\": external data in \"sub\": it is not a regular file"},
        {"sub/w.bin", "8", NULL, "tensor \"w\": external data is 8 bytes at 8, the file has 12"},
        {"sub/w.bin", "9223372036854775807", NULL,
         "tensor \"w\": external data is 8 bytes at 9223372036854775807, the file has 12"},
        {"sub/w.bin", "0", "12", "tensor \"w\": external length is 12, its elements need 8"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        t = external_tensor(cases[i].location, cases[i].offset, cases[i].length);
        check_data_error(&t, folder, cases[i].error);
    }
    t = external_tensor("sub/w.bin", NULL, NULL);
    check_data_error(&t, NULL,
                     "tensor \"w\": external data in \"sub/w.bin\": the model was not read from a "
                     "folder, so there is no external data");
    char command[120];
    snprintf(command, sizeof command, "rm -r %s", folder);
    CHECK_EQ(system(command), 0);
}

/* ---- bad input ---- */

static void check_error(const void *bytes, size_t size, const char *want) {
    struct onnx_model *m = NULL;
    struct error err = {0};
    CHECK(onnx_model_read(&m, bytes, size, NULL, &err) != STATUS_OK);
    CHECK(!m);
    if (!strstr(err.text, want))
        test_fail(__FILE__, __LINE__, "got \"%s\", want \"%s\"", err.text, want);
}

TEST(onnx_says_where_a_file_is_damaged) {
    check_error("", 0, "not an ONNX model: the file is empty");
    check_error("\x08\x08", 2, "not a good ONNX model: there is no graph at byte 0");
    check_error("PK\3\4zip", 7, "a field has an impossible number at byte 2");
    check_error("\x3a\x05\x0a\x03\x0a\x7f\x0a", 7,
                "graph.node[0]: a length reaches over the end of its message at byte 4");
    check_error("\x3a\x02\x08\x01", 4, "graph: field 1 (node) has wire type 0, wanted 2 at byte 2");
    check_error("\x3a\x00\x3a\x00", 4, "field 7 (graph) is there twice at byte 2");
    check_error("\x3a\x02\x0b\x0c", 4, "wire type that does not exist or is a group");
}

TEST(onnx_refuses_deep_nesting) {
    struct message inner = {0};
    for (int i = 0; i < 1000; i++) { /* type of sequence of type of sequence of... */
        struct message sequence = {0}, type = {0};
        put_message(&sequence, 1, &inner);
        put_message(&type, 4, &sequence);
        inner = type;
    }
    struct message input = {0}, graph = {0}, model = {0};
    put_message(&input, 2, &inner);
    put_message(&graph, 11, &input);
    put_message(&model, 7, &graph);
    check_error(model.b.p, model.b.n, "more than 100 messages inside each other");
    buffer_done(&model.b);
}

TEST(onnx_survives_every_flipped_bit_and_every_length) {
    struct message bytes = small_model();
    for (size_t i = 0; i < bytes.b.n * 8; i++) {
        struct onnx_model *m = NULL;
        struct error err;
        bytes.b.p[i / 8] ^= (char)(1 << i % 8);
        if (onnx_model_read(&m, bytes.b.p, bytes.b.n, NULL, &err) == STATUS_OK)
            onnx_model_free(m);
        bytes.b.p[i / 8] ^= (char)(1 << i % 8);
        m = NULL;
        if (onnx_model_read(&m, bytes.b.p, i / 8, NULL, &err) == STATUS_OK)
            onnx_model_free(m);
    }
    buffer_done(&bytes.b);
}
