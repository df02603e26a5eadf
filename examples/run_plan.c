/* run_plan.c - runs a plan once with inputs of ones and prints its outputs.
 *
 *     cc run_plan.c $(pkg-config --cflags --libs culmen) -o run_plan
 *     ./run_plan model.plan
 *
 * Uses nothing but the installed library: copy it and go on from here. */
#include <culmen/plan.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int fail(const struct culmen_error *err) {
    fprintf(stderr, "%s: %s\n", culmen_status_name(err->code), err->text);
    return 1;
}

/* Memory for one input, all of its elements 1; free dims get their smallest size. */
static void *make_input(const struct culmen_io *io, int64_t *dims) {
    size_t n = 1;
    for (int d = 0; d < io->rank; d++) {
        dims[d] = io->dims[d].size >= 0 ? io->dims[d].size : io->dims[d].min;
        n *= (size_t)dims[d];
    }
    size_t size = culmen_dtype_size(io->dtype);
    char *data = calloc(n ? n : 1, size ? size : 1);
    const float one = 1;
    for (size_t i = 0; data && i < n && size; i++) {
        if (io->dtype == CULMEN_FLOAT32)
            memcpy(data + i * size, &one, size);
        else
            data[i * size] = 1; /* integers, little-endian */
    }
    return data;
}

static void print_output(const struct culmen_io *io, const struct culmen_tensor *t) {
    printf("%s: %s [", io->name, culmen_dtype_name(t->dtype));
    for (int d = 0; d < t->rank; d++)
        printf("%s%lld", d ? "," : "", (long long)t->dims[d]);
    printf("]");
    const float *x = t->data;
    for (size_t i = 0; t->dtype == CULMEN_FLOAT32 && i < t->size / sizeof *x && i < 4; i++)
        printf(" %g", (double)x[i]);
    printf("\n");
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: %s MODEL.plan\n", argv[0]);
        return 2;
    }
    struct culmen_error err;
    struct culmen_plan *plan;
    struct culmen_session *session;
    if (culmen_plan_load(&plan, argv[1], &err))
        return fail(&err);
    if (culmen_session_new(&session, plan, NULL, &err))
        return fail(&err);

    size_t n_inputs = culmen_plan_n_inputs(plan);
    void **inputs = calloc(n_inputs + 1, sizeof *inputs);
    for (size_t i = 0; i < n_inputs; i++) {
        const struct culmen_io *io = culmen_plan_input(plan, i);
        int64_t dims[CULMEN_RANK_MAX];
        inputs[i] = make_input(io, dims);
        if (culmen_bind_input(session, i, inputs[i], dims, io->rank, &err))
            return fail(&err);
    }
    if (culmen_run(session, &err))
        return fail(&err);
    for (size_t i = 0; i < culmen_plan_n_outputs(plan); i++) {
        struct culmen_tensor t;
        if (culmen_get_output(session, i, &t, &err))
            return fail(&err);
        print_output(culmen_plan_output(plan, i), &t);
    }

    for (size_t i = 0; i < n_inputs; i++)
        free(inputs[i]);
    free(inputs);
    culmen_session_free(session);
    culmen_plan_free(plan);
    return 0;
}
