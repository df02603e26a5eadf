/* kernel.h - a kernel is one way to run one operator on tensors.
 *
 * kernels.def lists the fast ones; every operator of ops.def also has a reference kernel
 * (ref/), which is slow, correct, and runs on every machine. Kernels know tensors and
 * attributes and nothing else: no files, no allocation, no globals that change.
 *
 * The engine runs a step on all threads of a session's team at once: each calls run() with
 * its own number and does its share (rows, columns, heads: a static split). Between steps
 * the engine has a barrier; inside a step a kernel may use the team's. */
#ifndef KERNELS_KERNEL_H
#define KERNELS_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/isa.h"
#include "base/status.h"
#include "ops/attr.h"
#include "ops/op.h"
#include "tensor/tensor.h"

struct kernel;

/* One step with its operands. Absent optional operands are NULL. A packed constant keeps its
 * logical dtype and dims; its data is what pack() wrote. Immutable while the step runs, but for
 * the bytes of the outputs, and the dims of an output whose op_value.is_bound was set. */
struct kernel_call {
    const struct kernel *kernel;
    op_id op;
    int opset;
    const struct attr_list *attrs;
    const struct tensor *const *in;
    struct tensor *const *out;
    size_t n_in, n_out;
    const void *state; /* what prepare() filled; NULL without state_size */
    void *scratch; /* scratch() bytes, 64-byte aligned, contents undefined; shared by the team */
    size_t scratch_size;
};

struct kernel_team {
    unsigned thread, n_threads; /* thread < n_threads */
    void (*barrier)(void *arg); /* all threads of the team meet */
    void *barrier_arg;
};

struct kernel {
    const char *name; /* "avx512.linear.f32"; plans store it */
    isa isa;
    op_id op;

    /* May this kernel run the call? Looks at dtypes, ranks, attributes and which operands are
     * there; dims that are not known yet are -1, data of activations is NULL, data of constants is
     * there. NULL: always. */
    bool (*accepts)(const struct kernel_call *c);

    /* Constant operand `input` is stored packed: packed_size() says how large (0: as it is), pack()
     * writes it from the plain row-major tensor c->in[input]. Run by the compiler only. */
    size_t (*packed_size)(const struct kernel_call *c, size_t input);
    void (*pack)(const struct kernel_call *c, size_t input, void *to);

    /* Reads the attributes once, when a plan is opened: fills state_size zeroed bytes. */
    size_t state_size;
    status (*prepare)(const struct kernel_call *c, void *state, struct error *err);

    /* Bytes of scratch for these dims and this many threads; NULL: none. */
    size_t (*scratch)(const struct kernel_call *c, unsigned n_threads);

    bool is_serial; /* run() is called by thread 0 only */

    /* Runs thread t->thread's share. One that meets the team's barrier fails on all threads or on
     * none. Fails only for data that shapes could not exclude (an index
     * out of range). */
    status (*run)(const struct kernel_call *c, const struct kernel_team *t, struct error *err);
};

/* The reference kernel of `op`, or NULL when it has none. */
const struct kernel *kernel_ref(op_id op);

/* The kernel called `name`, or NULL. */
const struct kernel *kernel_find(str name);

/* The best kernel for the call at or below `level`: the highest level that accepts it, the first
 * row of kernels.def among equals, the reference kernel last. Without a BF16 operand no level past
 * AVX512 is used. NULL: none at all. */
const struct kernel *kernel_choose(const struct kernel_call *c, isa level);

/* All kernels, for the tests that hold each against the reference: i from 0 until NULL. */
const struct kernel *kernel_at(size_t i);

/* The share [*from, *to) of n items (in units of `grain`) that a thread does. */
static inline void kernel_share(const struct kernel_team *t, int64_t n, int64_t grain,
                                int64_t *from, int64_t *to) {
    int64_t blocks = (n + grain - 1) / grain;
    int64_t a = blocks * t->thread / t->n_threads * grain;
    int64_t b = blocks * (t->thread + 1) / t->n_threads * grain;
    *from = a < n ? a : n;
    *to = b < n ? b : n;
}

#endif
