/* fixture.h - a small plan built by hand, for the engine's tests.
 *
 * y = flatten(relu(x + w)), x [n, 2, 2] with n from 1 to 8; `same` is x; `where` is nonzero(y),
 * whose size depends on the data. */
#ifndef ENGINE_FIXTURE_H
#define ENGINE_FIXTURE_H

#include "plan/plan.h"

enum { X, W, SUM, RELU, FLAT, WHERE, N_VALUES };

struct fixture {
    struct plan plan;
    struct plan_value values[N_VALUES];
    struct plan_step steps[3];
    struct dim_symbol symbol;
    struct dim_expr expr;
    uint32_t inputs[1], in0[2], out0[1], in1[1], out1[1], in2[1], out2[1];
    struct plan_output outputs[3];
    float weights[16];
};

static inline void fixture_make(struct fixture *m) {
    const dim n = DIM_EXPR;
    *m = (struct fixture){
        .values = {{.name = STR("x"),
                    .kind = PLAN_INPUT,
                    .dtype = DTYPE_F32,
                    .rank = 3,
                    .dims = {n, 2, 2}},
                   {.name = STR("w"),
                    .kind = PLAN_CONSTANT,
                    .dtype = DTYPE_F32,
                    .rank = 2,
                    .dims = {2, 2},
                    .size = 16},
                   {.name = STR("sum"),
                    .kind = PLAN_PLANNED,
                    .dtype = DTYPE_F32,
                    .rank = 3,
                    .dims = {n, 2, 2}},
                   {.name = STR("relu"),
                    .kind = PLAN_PLANNED,
                    .dtype = DTYPE_F32,
                    .rank = 3,
                    .dims = {n, 2, 2}},
                   {.name = STR("flat"),
                    .kind = PLAN_ALIAS,
                    .dtype = DTYPE_F32,
                    .rank = 2,
                    .dims = {n, 4},
                    .of = RELU},
                   {.name = STR("where"),
                    .kind = PLAN_DYNAMIC,
                    .dtype = DTYPE_I64,
                    .rank = 2,
                    .dims = {2, DIM_UNKNOWN}}},
        .steps =
            {{.op = STR("Add"), .kernel = STR("ref.Add"), .origin = STR("add"), .opset = 14},
             {.op = STR("Relu"), .kernel = STR("ref.Relu"), .origin = STR("relu"), .opset = 14},
             {.op = STR("NonZero"), .kernel = STR("ref.NonZero"), .opset = 14}},
        .symbol = {.name = STR("n"), .min = 1, .max = 8},
        .expr = {.op = DIM_SYMBOL},
        .inputs = {X},
        .in0 = {X, W},
        .out0 = {SUM},
        .in1 = {SUM},
        .out1 = {RELU},
        .in2 = {FLAT},
        .out2 = {WHERE},
        .outputs = {{.name = STR("y"), .value = FLAT},
                    {.name = STR("same"), .value = X},
                    {.name = STR("where"), .value = WHERE}},
        .weights = {-1, -2, 3, 4},
    };
    m->steps[0].in = m->in0;
    m->steps[0].n_in = 2;
    m->steps[0].out = m->out0;
    m->steps[0].n_out = 1;
    m->steps[1].in = m->in1;
    m->steps[1].n_in = 1;
    m->steps[1].out = m->out1;
    m->steps[1].n_out = 1;
    m->steps[2].in = m->in2;
    m->steps[2].n_in = 1;
    m->steps[2].out = m->out2;
    m->steps[2].n_out = 1;
    m->plan = (struct plan){
        .meta = STR("{}"),
        .symbols = &m->symbol,
        .n_symbols = 1,
        .exprs = &m->expr,
        .n_exprs = 1,
        .values = m->values,
        .n_values = N_VALUES,
        .steps = m->steps,
        .n_steps = 3,
        .inputs = m->inputs,
        .n_inputs = 1,
        .outputs = m->outputs,
        .n_outputs = 3,
        .weights = (const char *)m->weights,
        .weights_size = sizeof m->weights,
    };
}

static inline struct tensor fixture_input(float *x, int64_t n) {
    return (struct tensor){
        .dtype = DTYPE_F32, .rank = 3, .dims = {n, 2, 2}, .data = x, .size = (size_t)n * 16};
}

#endif
