#include "kernels/kernel.h"

#include "support/test.h"

TEST(kernel_ref_exists_for_every_operator) {
    for (int i = OP_NONE + 1; i < OP_COUNT; i++) {
        const struct kernel *k = kernel_ref((op_id)i);
        CHECK(k && k->op == (op_id)i && k->isa == ISA_GENERIC && k->run);
        CHECK(k && kernel_find(str_from_c(k->name)) == k);
    }
    CHECK(kernel_ref(OP_NONE) == NULL);
    CHECK(kernel_find(STR("no.such.kernel")) == NULL);
}

TEST(kernel_names_are_unique) {
    for (size_t i = 0; kernel_at(i); i++)
        CHECK(kernel_find(str_from_c(kernel_at(i)->name)) == kernel_at(i));
}

TEST(kernel_choose_falls_back_on_the_reference) {
    struct tensor x = {.dtype = DTYPE_F64, .rank = 1, .dims = {4}}, y = x;
    const struct tensor *in[] = {&x};
    struct tensor *out[] = {&y};
    struct kernel_call c = {.op = OP_Exp, .in = in, .out = out, .n_in = 1, .n_out = 1};
    CHECK(kernel_choose(&c, ISA_AMX) == kernel_ref(OP_Exp));
    x.dtype = DTYPE_BYTES;
    CHECK(kernel_choose(&c, ISA_AMX) == NULL);
}

TEST(kernel_share_covers_everything_once) {
    for (unsigned n_threads = 1; n_threads < 9; n_threads++) {
        int64_t next = 0;
        for (unsigned i = 0; i < n_threads; i++) {
            struct kernel_team t = {.thread = i, .n_threads = n_threads};
            int64_t from, to;
            kernel_share(&t, 100, 16, &from, &to);
            CHECK_EQ(from, next);
            CHECK(to == 100 || to % 16 == 0);
            next = to;
        }
        CHECK_EQ(next, 100);
    }
}
