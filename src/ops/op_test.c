/* Shape inference as compilers meet it: symbols through the idioms of exporters. */
#include "ops/op.h"

#include <stdarg.h>

#include "support/test.h"

enum { VALUES_MAX = 16 };

/* A graph of a few nodes, inferred one after the other. */
struct fixture {
    struct arena arena;
    struct dim_pool pool;
    struct error err;
    dim batch, seq;
};

static void start(struct fixture *f) {
    *f = (struct fixture){0};
    dim_pool_init(&f->pool, &f->arena);
    f->batch = dim_symbol(&f->pool, STR("batch"));
    f->seq = dim_symbol(&f->pool, STR("seq"));
}

static struct op_value value_of(dtype t, int rank, ...) {
    struct op_value v = {.dtype = t, .rank = (int8_t)rank};
    va_list ap;
    va_start(ap, rank);
    for (int i = 0; i < rank; i++)
        v.dims[i] = va_arg(ap, dim);
    va_end(ap);
    return v;
}

/* A constant vector (or, n = 0, scalar `first`) of int64. */
static struct op_value ints_of(struct fixture *f, size_t n, ...) {
    size_t count = n ? n : 1;
    int64_t *data = arena_array(&f->arena, int64_t, count);
    struct tensor *t = arena_new(&f->arena, struct tensor);
    va_list ap;
    va_start(ap, n);
    for (size_t i = 0; i < count; i++)
        data[i] = va_arg(ap, int64_t);
    va_end(ap);
    *t = (struct tensor){.dtype = DTYPE_I64,
                         .rank = n != 0,
                         .dims = {(int64_t)n},
                         .data = data,
                         .size = count * sizeof *data};
    struct op_value v = {.dtype = DTYPE_I64, .rank = n != 0, .dims = {(int64_t)n}, .constant = t};
    return v;
}

static struct attr int_attr(const char *name, int64_t i) {
    return (struct attr){.name = str_from_c(name), .kind = ATTR_INT, .n = 1, .i = i};
}

#define NODE(f, out, name, attrs, ...)                                                             \
    infer(f, out, 1, name, attrs, sizeof attrs / sizeof *attrs,                                    \
          (const struct op_value *[]){__VA_ARGS__},                                                \
          sizeof((const struct op_value *[]){__VA_ARGS__}) / sizeof(void *))

static const struct attr none[1] = {{.name = {.p = "unused", .n = 6}, .kind = ATTR_INT}};

static status infer(struct fixture *f, struct op_value *out, size_t n_out, const char *name,
                    const struct attr *attrs, size_t n_attrs, const struct op_value *const *in,
                    size_t n_in) {
    struct attr_list list = {.items = attrs, .n = n_attrs};
    memset(out, 0, n_out * sizeof *out);
    struct op_call call = {.op = op_get(op_find(STR(""), str_from_c(name))),
                           .opset = 17,
                           .attrs = &list,
                           .in = in,
                           .out = out,
                           .n_in = n_in,
                           .n_out = n_out,
                           .pool = &f->pool,
                           .arena = &f->arena};
    return op_infer(&call, &f->err);
}

static const char *dims_text(struct fixture *f, const struct op_value *v) {
    str s = STR("");
    for (int i = 0; i < v->rank; i++) {
        str d = dim_format(&f->pool, &f->arena, v->dims[i]);
        s = str_format(&f->arena, "%.*s%s%.*s", STR_ARG(s), i ? "," : "", STR_ARG(d));
    }
    return str_copy(&f->arena, s).p;
}

TEST(op_find_knows_names_by_domain) {
    CHECK_EQ(op_find(STR(""), STR("Add")), OP_Add);
    CHECK_EQ(op_find(STR("ai.onnx"), STR("Add")), OP_Add);
    CHECK_EQ(op_find(STR("culmen"), STR("Add")), OP_NONE);
    CHECK_EQ(op_find(STR("culmen"), STR("Conv2d")), OP_Conv2d);
    CHECK_EQ(op_find(STR(""), STR("Frobnicate")), OP_NONE);
    CHECK(op_get(OP_NONE) == NULL);
    CHECK_EQ(op_id_of(op_get(OP_Softmax)), OP_Softmax);
}

/* Shape -> Gather -> Unsqueeze -> Concat -> Reshape, as torch exports view(b, -1, heads, size). */
TEST(op_shape_arithmetic_reaches_reshape) {
    struct fixture f;
    start(&f);
    const struct attr axis0[] = {int_attr("axis", 0)};
    struct op_value x = value_of(DTYPE_F32, 3, f.batch, f.seq, (dim)768), shape, one, b, list, y;
    struct op_value zero = ints_of(&f, 0, (int64_t)0), axes = ints_of(&f, 1, (int64_t)0);
    struct op_value tail = ints_of(&f, 3, (int64_t)-1, (int64_t)12, (int64_t)64);
    CHECK_EQ(NODE(&f, &shape, "Shape", none, &x), STATUS_OK);
    CHECK_EQ(NODE(&f, &one, "Gather", axis0, &shape, &zero), STATUS_OK);
    CHECK_EQ(one.rank, 0);
    CHECK_EQ(one.contents[0], f.batch);
    CHECK_EQ(NODE(&f, &b, "Unsqueeze", none, &one, &axes), STATUS_OK);
    CHECK_EQ(NODE(&f, &list, "Concat", axis0, &b, &tail), STATUS_OK);
    CHECK_EQ(NODE(&f, &y, "Reshape", none, &x, &list), STATUS_OK);
    CHECK_STR(dims_text(&f, &y), "batch,seq,12,64");
    arena_release(&f.arena);
}

TEST(op_reshape_folds_and_unfolds_batch_and_sequence) {
    struct fixture f;
    start(&f);
    struct op_value x = value_of(DTYPE_F32, 3, f.batch, f.seq, (dim)384), flat, back, copied;
    struct op_value to_rows = ints_of(&f, 2, (int64_t)-1, (int64_t)384);
    struct op_value zeros = ints_of(&f, 4, (int64_t)0, (int64_t)0, (int64_t)12, (int64_t)-1);
    CHECK_EQ(NODE(&f, &flat, "Reshape", none, &x, &to_rows), STATUS_OK);
    CHECK_STR(dims_text(&f, &flat), "(batch * seq),384");
    dim contents[3] = {f.batch, f.seq, -1};
    struct op_value list = value_of(DTYPE_I64, 1, (dim)3);
    list.contents = contents;
    list.n_contents = 3;
    CHECK_EQ(NODE(&f, &back, "Reshape", none, &flat, &list), STATUS_OK);
    CHECK_STR(dims_text(&f, &back), "batch,seq,384");
    CHECK_EQ(NODE(&f, &copied, "Reshape", none, &x, &zeros), STATUS_OK);
    CHECK_STR(dims_text(&f, &copied), "batch,seq,12,32");
    arena_release(&f.arena);
}

/* Where(Equal(shape, -1), ones, shape) -> Expand, as torch exports expand(). */
TEST(op_expand_through_where_and_equal) {
    struct fixture f;
    start(&f);
    struct op_value x = value_of(DTYPE_F32, 4, f.batch, (dim)1, (dim)1, f.seq), equal, wanted, y;
    dim contents[4] = {f.batch, 1, f.seq, f.seq};
    struct op_value shape = value_of(DTYPE_I64, 1, (dim)4);
    shape.contents = contents;
    shape.n_contents = 4;
    struct op_value minus = ints_of(&f, 4, (int64_t)-1, (int64_t)-1, (int64_t)-1, (int64_t)-1);
    struct op_value ones = ints_of(&f, 4, (int64_t)1, (int64_t)1, (int64_t)1, (int64_t)1);
    CHECK_EQ(NODE(&f, &equal, "Equal", none, &shape, &minus), STATUS_OK);
    CHECK_EQ(equal.contents[0], 0);
    CHECK_EQ(NODE(&f, &wanted, "Where", none, &equal, &ones, &shape), STATUS_OK);
    CHECK_EQ(NODE(&f, &y, "Expand", none, &x, &wanted), STATUS_OK);
    CHECK_STR(dims_text(&f, &y), "batch,1,seq,seq");
    arena_release(&f.arena);
}

TEST(op_slice_of_symbolic_axis) {
    struct fixture f;
    start(&f);
    struct op_value x = value_of(DTYPE_F32, 2, f.batch, f.seq), y;
    struct op_value start0 = ints_of(&f, 1, (int64_t)0), start1 = ints_of(&f, 1, (int64_t)1);
    struct op_value end = ints_of(&f, 1, INT64_MAX), last = ints_of(&f, 1, (int64_t)-1);
    struct op_value axis = ints_of(&f, 1, (int64_t)1);
    CHECK_EQ(NODE(&f, &y, "Slice", none, &x, &start0, &end, &axis), STATUS_OK);
    CHECK_STR(dims_text(&f, &y), "batch,seq");
    CHECK_EQ(NODE(&f, &y, "Slice", none, &x, &start1, &end, &axis), STATUS_OK);
    CHECK_STR(dims_text(&f, &y), "batch,(seq - 1)");
    CHECK_EQ(NODE(&f, &y, "Slice", none, &x, &start0, &last, &axis), STATUS_OK);
    CHECK_STR(dims_text(&f, &y), "batch,(seq - 1)");
    /* position_ids[:, :seq] of a table of 512 */
    struct op_value table = value_of(DTYPE_I64, 2, (dim)1, (dim)512);
    struct op_value seq = value_of(DTYPE_I64, 1, (dim)1);
    seq.contents = &f.seq;
    seq.n_contents = 1;
    CHECK_EQ(NODE(&f, &y, "Slice", none, &table, &start0, &seq, &axis), STATUS_OK);
    CHECK_STR(dims_text(&f, &y), "1,min(seq, 512)");
    f.pool.symbols[1].max = 512;
    CHECK_EQ(NODE(&f, &y, "Slice", none, &table, &start0, &seq, &axis), STATUS_OK);
    CHECK_STR(dims_text(&f, &y), "1,seq");
    arena_release(&f.arena);
}

/* Cast to float, times 2, floor, Cast back: sizes of an upsampling. */
TEST(op_sizes_computed_in_floats) {
    struct fixture f;
    start(&f);
    const struct attr to_float[] = {int_attr("to", 1)}, to_int[] = {int_attr("to", 7)};
    float two = 2, half = 0.5f;
    struct tensor t = {.dtype = DTYPE_F32, .data = &two, .size = 4};
    struct op_value factor = {.dtype = DTYPE_F32, .constant = &t};
    struct op_value s = value_of(DTYPE_I64, 0), x, y, z, n;
    s.contents = &f.seq;
    s.n_contents = 1;
    CHECK_EQ(NODE(&f, &x, "Cast", to_float, &s), STATUS_OK);
    CHECK_EQ(NODE(&f, &y, "Mul", none, &x, &factor), STATUS_OK);
    CHECK_EQ(NODE(&f, &z, "Floor", none, &y), STATUS_OK);
    CHECK_EQ(NODE(&f, &n, "Cast", to_int, &z), STATUS_OK);
    CHECK_EQ(n.contents[0], dim_mul(&f.pool, f.seq, 2));
    CHECK_EQ(NODE(&f, &z, "Div", none, &y, &x), STATUS_OK);
    CHECK_EQ(z.contents[0], 2);
    CHECK_EQ(NODE(&f, &z, "Div", none, &x, &factor), STATUS_OK);
    CHECK_EQ(z.contents[0], DIM_UNKNOWN); /* may be no whole number */
    t.data = &half;
    CHECK_EQ(NODE(&f, &y, "Mul", none, &x, &factor), STATUS_OK);
    CHECK_EQ(y.contents[0], DIM_UNKNOWN);
    arena_release(&f.arena);
}

TEST(op_range_of_a_symbol_has_its_length) {
    struct fixture f;
    start(&f);
    struct op_value zero = ints_of(&f, 0, (int64_t)0), one = ints_of(&f, 0, (int64_t)1), y;
    struct op_value limit = value_of(DTYPE_I64, 0);
    limit.contents = &f.seq;
    limit.n_contents = 1;
    CHECK_EQ(NODE(&f, &y, "Range", none, &zero, &limit, &one), STATUS_OK);
    CHECK_STR(dims_text(&f, &y), "seq");
    arena_release(&f.arena);
}

TEST(op_broadcast_of_symbols) {
    struct fixture f;
    start(&f);
    struct op_value a = value_of(DTYPE_F32, 2, f.batch, (dim)1), y;
    struct op_value b = value_of(DTYPE_F32, 1, f.seq), c = value_of(DTYPE_F32, 1, (dim)4);
    CHECK_EQ(NODE(&f, &y, "Add", none, &a, &b), STATUS_OK);
    CHECK_STR(dims_text(&f, &y), "batch,seq");
    CHECK_EQ(NODE(&f, &y, "Add", none, &b, &c), STATUS_OK);
    CHECK_STR(dims_text(&f, &y), "4");
    struct op_value d = value_of(DTYPE_F32, 1, (dim)5);
    CHECK_EQ(NODE(&f, &y, "Add", none, &c, &d), STATUS_INVALID_ARGUMENT);
    CHECK_STR(f.err.text, "Add: input 1 f32[5]: dims 4 and 5 do not broadcast");
    struct op_value e = value_of(DTYPE_I64, 1, (dim)4);
    CHECK_EQ(NODE(&f, &y, "Add", none, &c, &e), STATUS_INVALID_ARGUMENT);
    arena_release(&f.arena);
}

TEST(op_convolution_keeps_symbols) {
    struct fixture f;
    start(&f);
    static const int64_t pads[] = {1, 1, 1, 1}, strides[] = {2, 2};
    const struct attr attrs[] = {
        {.name = STR("pads"), .kind = ATTR_INTS, .n = 4, .ints = pads},
        {.name = STR("strides"), .kind = ATTR_INTS, .n = 2, .ints = strides}};
    struct op_value x = value_of(DTYPE_F32, 4, f.batch, (dim)3, f.seq, (dim)224), y;
    struct op_value w = value_of(DTYPE_F32, 4, (dim)32, (dim)3, (dim)3, (dim)3);
    CHECK_EQ(NODE(&f, &y, "Conv", attrs, &x, &w), STATUS_OK);
    CHECK_STR(dims_text(&f, &y), "batch,32,((seq + 1) / 2),112");
    arena_release(&f.arena);
}

TEST(op_outputs_that_depend_on_data_are_bounds) {
    struct fixture f;
    start(&f);
    struct op_value x = value_of(DTYPE_F32, 2, f.batch, f.seq), y;
    CHECK_EQ(NODE(&f, &y, "NonZero", none, &x), STATUS_OK);
    CHECK(y.is_bound);
    CHECK_STR(dims_text(&f, &y), "2,(batch * seq)");
    struct op_value k = value_of(DTYPE_I64, 1, (dim)1), top[2];
    CHECK_EQ(infer(&f, top, 2, "TopK", none, 1, (const struct op_value *[]){&x, &k}, 2), STATUS_OK);
    CHECK(top[0].is_bound && top[1].is_bound);
    CHECK_STR(dims_text(&f, &top[1]), "batch,seq");
    struct op_value shape = value_of(DTYPE_I64, 1, (dim)2);
    CHECK_EQ(NODE(&f, &y, "Reshape", none, &x, &shape), STATUS_OK);
    CHECK_STR(dims_text(&f, &y), "?,?");
    arena_release(&f.arena);
}

TEST(op_infer_counts_operands) {
    struct fixture f;
    start(&f);
    struct op_value x = value_of(DTYPE_F32, 1, (dim)4), y;
    CHECK_EQ(NODE(&f, &y, "Add", none, &x), STATUS_INVALID_ARGUMENT);
    CHECK_EQ(NODE(&f, &y, "Relu", none, &x, &x), STATUS_INVALID_ARGUMENT);
    CHECK_EQ(NODE(&f, &y, "Add", none, NULL, &x), STATUS_INVALID_ARGUMENT);
    arena_release(&f.arena);
}

/* Either size may be 1 when the model runs, so neither is the label's for sure. */
TEST(op_einsum_label_of_two_symbols_is_as_large_as_the_larger) {
    struct fixture f;
    start(&f);
    const struct attr equation[] = {
        {.name = STR("equation"), .kind = ATTR_STRING, .n = 1, .s = STR("ab,cb->cb")}};
    struct op_value x = value_of(DTYPE_F32, 2, (dim)3, f.batch), y;
    struct op_value w = value_of(DTYPE_F32, 2, (dim)4, f.seq);
    CHECK_EQ(NODE(&f, &y, "Einsum", equation, &x, &w), STATUS_OK);
    CHECK_EQ(y.dims[0], 4);
    CHECK_EQ(y.dims[1], dim_max(&f.pool, f.batch, f.seq));
    struct op_value seven = value_of(DTYPE_F32, 2, (dim)4, (dim)7);
    CHECK_EQ(NODE(&f, &y, "Einsum", equation, &x, &seven), STATUS_OK);
    CHECK_EQ(y.dims[1], 7);
    arena_release(&f.arena);
}

TEST(op_cumulative_axis_may_be_a_symbol) {
    struct fixture f;
    start(&f);
    const struct attr axis0[] = {int_attr("axis", 0)};
    struct op_value x = value_of(DTYPE_F32, 2, f.batch, f.seq), shape, axis, y;
    struct op_value zero = ints_of(&f, 0, (int64_t)0);
    CHECK_EQ(NODE(&f, &shape, "Shape", none, &x), STATUS_OK);
    CHECK_EQ(NODE(&f, &axis, "Gather", axis0, &shape, &zero), STATUS_OK);
    CHECK_EQ(NODE(&f, &y, "CumSum", none, &x, &axis), STATUS_OK);
    CHECK_STR(dims_text(&f, &y), "batch,seq");
    arena_release(&f.arena);
}
