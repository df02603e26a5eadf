#include "compiler/passes/layout.h"

#include <stdio.h>

#include "compiler/ir/parse.h"
#include "compiler/ir/verify.h"
#include "compiler/passes/precision.h"
#include "support/test.h"

/* Parses `text`, runs the layout passes, and counts nodes of `op` in what comes out. */
static int count(const struct graph *g, op_id op) {
    int n_op = 0;
    GRAPH_NODES(n, g) {
        n_op += n->op == op;
    }
    return n_op;
}

static struct graph *read_graph(struct arena *a, const char *text) {
    struct graph *g = NULL;
    struct error err = {0};
    if (graph_parse(&g, a, str_from_c(text), &err) != STATUS_OK)
        test_fail(__FILE__, __LINE__, "%s", err.text);
    GRAPH_NODES(n, g) {
        if (node_infer(g, n, NULL, &err) != STATUS_OK)
            test_fail(__FILE__, __LINE__, "%s", err.text);
    }
    return g;
}

static void lay_out(struct graph *g) {
    struct error err = {0};
    if (pass_channels_last(g, &err) != STATUS_OK || pass_sink_transposes(g, &err) != STATUS_OK ||
        graph_verify(g, true, &err) != STATUS_OK)
        test_fail(__FILE__, __LINE__, "%s", err.text);
}

#define CONV "{kernel_shape=[3, 3], pads=[1, 1, 1, 1]}"

TEST(layout_leaves_one_transpose_at_each_end_of_a_chain) {
    struct arena a = {0};
    struct graph *g = read_graph(&a, "graph \"g\" opset 17\n"
                                     "input %x: f32[2,3,8,8]\n"
                                     "const %w: f32[4,3,3,3] = splat 1\n"
                                     "const %v: f32[4,4,3,3] = splat 1\n"
                                     "const %b: f32[1,4,1,1] = {1, 2, 3, 4}\n"
                                     "%c: f32[2,4,8,8] = Conv(%x, %w) " CONV "\n"
                                     "%r: f32[2,4,8,8] = Relu(%c)\n"
                                     "%d: f32[2,4,8,8] = Conv(%r, %v) " CONV "\n"
                                     "%s: f32[2,4,8,8] = Add(%d, %r)\n"
                                     "%y: f32[2,4,8,8] = Mul(%s, %b)\n"
                                     "output \"y\" = %y\n");
    lay_out(g);
    CHECK_EQ(count(g, OP_Conv2d), 2);
    CHECK_EQ(count(g, OP_Transpose), 2);
    CHECK_EQ(g->outputs[0].value->info.dims[1], 4);
    CHECK(g->last->op == OP_Transpose);
    arena_release(&a);
}

TEST(layout_turns_the_transpose_of_a_pooled_image_into_a_reshape) {
    struct arena a = {0};
    struct graph *g = read_graph(&a, "graph \"g\" opset 17\n"
                                     "symbol batch 1..8\n"
                                     "input %x: f32[batch,3,8,8]\n"
                                     "const %w: f32[4,3,3,3] = splat 1\n"
                                     "%c: f32[batch,4,8,8] = Conv(%x, %w) " CONV "\n"
                                     "%p: f32[batch,4,1,1] = GlobalAveragePool(%c)\n"
                                     "%y: f32[batch,4] = Flatten(%p) {axis=1}\n"
                                     "output \"y\" = %y\n");
    lay_out(g);
    CHECK_EQ(count(g, OP_Pool2d), 1);
    CHECK_EQ(count(g, OP_Transpose), 1); /* of the input */
    arena_release(&a);
}

TEST(layout_merges_patches_into_tokens_without_a_copy) {
    struct arena a = {0};
    struct graph *g = read_graph(
        &a, "graph \"g\" opset 17\n"
            "symbol batch 1..8\n"
            "input %x: f32[batch,3,32,32]\n"
            "const %w: f32[8,3,16,16] = splat 1\n"
            "const %shape: i64[3] = {0, 8, -1}\n"
            "%c: f32[batch,8,2,2] = Conv(%x, %w) {kernel_shape=[16, 16], strides=[16, 16]}\n"
            "%r: f32[batch,8,4] = Reshape(%c, %shape)\n"
            "%y: f32[batch,4,8] = Transpose(%r) {perm=[0, 2, 1]}\n"
            "output \"y\" = %y\n");
    lay_out(g);
    CHECK_EQ(count(g, OP_Transpose), 1);
    CHECK(g->last->op == OP_Reshape);
    arena_release(&a);
}

TEST(layout_makes_a_1d_convolution_two_dimensional) {
    struct arena a = {0};
    struct graph *g =
        read_graph(&a, "graph \"g\" opset 17\n"
                       "symbol n 1..8\n"
                       "input %x: f32[n,3,16]\n"
                       "const %w: f32[4,3,5] = splat 1\n"
                       "%y: f32[n,4,16] = Conv(%x, %w) {kernel_shape=[5], pads=[2, 2]}\n"
                       "output \"y\" = %y\n");
    lay_out(g);
    CHECK_EQ(count(g, OP_Conv2d), 1);
    CHECK_EQ(count(g, OP_Conv), 0);
    CHECK_EQ(g->outputs[0].value->info.dims[2], 16);
    arena_release(&a);
}

TEST(layout_reduces_over_renamed_axes) {
    struct arena a = {0};
    struct graph *g = read_graph(&a, "graph \"g\" opset 17\n"
                                     "input %x: f32[2,3,8,8]\n"
                                     "const %w: f32[4,3,3,3] = splat 1\n"
                                     "%c: f32[2,4,8,8] = Conv(%x, %w) " CONV "\n"
                                     "%y: f32[2,4] = ReduceMean(%c) {axes=[2, 3], keepdims=0}\n"
                                     "output \"y\" = %y\n");
    lay_out(g);
    CHECK_EQ(count(g, OP_Transpose), 1);
    CHECK_EQ(g->outputs[0].value->info.rank, 2);
    CHECK_EQ(g->outputs[0].value->info.dims[1], 4);
    arena_release(&a);
}

TEST(precision_keeps_the_residual_stream_wide) {
    struct arena a = {0};
    struct error err = {0};
    struct graph *g = read_graph(&a, "graph \"g\" opset 17\n"
                                     "input %x: f32[4,16]\n"
                                     "const %w: f32[16,16] = splat 1\n"
                                     "const %s: f32[16] = splat 1\n"
                                     "%n: f32[4,16] = Norm(%x, %s, %s, _) {kind=\"layer\"}\n"
                                     "%h: f32[4,16] = Linear(%n, %w)\n"
                                     "%r: f32[4,16] = Linear(%h, %w, _, %x)\n"
                                     "%m: f32[4,16] = Norm(%r, %s, %s, _) {kind=\"layer\"}\n"
                                     "%y: f32[4,16] = Linear(%m, %w, _, %m)\n"
                                     "%z: f32[4,16] = Norm(%y, %s, %s, _) {kind=\"layer\"}\n"
                                     "output \"z\" = %z\n");
    CHECK_EQ(pass_precision_bf16(g, &err), STATUS_OK);
    CHECK_EQ(graph_verify(g, true, &err), STATUS_OK);
    const struct node *norm = g->first, *h = norm->next, *r = h->next, *m = r->next, *y = m->next;
    CHECK_EQ(norm->out[0]->info.dtype, DTYPE_BF16);
    CHECK_EQ(h->in[1]->info.dtype, DTYPE_BF16);
    CHECK_EQ(h->out[0]->info.dtype, DTYPE_BF16);
    CHECK_EQ(r->out[0]->info.dtype, DTYPE_F32);
    CHECK_EQ(m->n_out, 2); /* a product and a residual read it */
    CHECK_EQ(m->out[1]->info.dtype, DTYPE_BF16);
    CHECK(y->in[0] == m->out[1] && y->in[3] == m->out[0]);
    CHECK_EQ(y->out[0]->info.dtype, DTYPE_F32);
    CHECK_EQ(count(g, OP_Cast), 0);
    arena_release(&a);
}
