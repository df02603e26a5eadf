/* ref_internal.h - what the reference kernels share. For the files of kernels/ref only.
 *
 * They favour plainness: thread 0 does all the work (but for what is done element by element),
 * elements of any dtype are widened to one of four types (f32, f64, i64, u64), worked on, and
 * narrowed again. They trust nothing: the dims of operands are checked against each other before a
 * byte is read. */
#ifndef KERNELS_REF_REF_INTERNAL_H
#define KERNELS_REF_REF_INTERNAL_H

#include <string.h>

#include "kernels/kernel.h"
#include "tensor/convert.h"

#define OP(name, domain, infer, min_in, max_in, max_out) extern const struct kernel ref_##name;
#include "ops/ops.def"
#undef OP

/* Defines the reference kernel of operator `name`. */
#define REF(name_, accepts_, run_)                                                                 \
    const struct kernel ref_##name_ = {.name = "ref." #name_,                                      \
                                       .isa = ISA_GENERIC,                                         \
                                       .op = OP_##name_,                                           \
                                       .accepts = accepts_,                                        \
                                       .is_serial = true,                                          \
                                       .run = run_};

/* All threads of the team run it, each on its share. */
#define REF_TEAM(name_, accepts_, run_)                                                            \
    const struct kernel ref_##name_ = {.name = "ref." #name_,                                      \
                                       .isa = ISA_GENERIC,                                         \
                                       .op = OP_##name_,                                           \
                                       .accepts = accepts_,                                        \
                                       .run = run_};

/* With scratch: `size_` is a function of the call. */
#define REF_SCRATCH(name_, accepts_, run_, size_)                                                  \
    const struct kernel ref_##name_ = {.name = "ref." #name_,                                      \
                                       .isa = ISA_GENERIC,                                         \
                                       .op = OP_##name_,                                           \
                                       .accepts = accepts_,                                        \
                                       .scratch = size_,                                           \
                                       .is_serial = true,                                          \
                                       .run = run_};

static inline const struct tensor *ref_in(const struct kernel_call *c, size_t i) {
    return i < c->n_in ? c->in[i] : NULL;
}
static inline struct tensor *ref_out(const struct kernel_call *c, size_t i) {
    return i < c->n_out ? c->out[i] : NULL;
}

/* accepts: no operand is missing that must be there, and by dtypes. */
bool ref_accepts_any(const struct kernel_call *c);
bool ref_accepts_fixed(const struct kernel_call *c);   /* anything but BYTES */
bool ref_accepts_moved(const struct kernel_call *c);   /* and all outputs have input 0's dtype */
bool ref_accepts_number(const struct kernel_call *c);  /* input 0 is a float or an integer */
bool ref_accepts_float(const struct kernel_call *c);   /* input 0 is a float */
bool ref_accepts_integer(const struct kernel_call *c); /* input 0 is an integer */
bool ref_accepts_bool(const struct kernel_call *c);    /* input 0 is BOOL */

/* The type that elements of dtype t are worked on in. */
typedef enum wide { WIDE_F32, WIDE_F64, WIDE_I64, WIDE_U64 } wide;
wide ref_wide(dtype t);

enum { REF_CHUNK = 256 }; /* elements widened at a time */

union ref_chunk {
    float f32[REF_CHUNK];
    double f64[REF_CHUNK];
    int64_t i64[REF_CHUNK];
    uint64_t u64[REF_CHUNK];
};

/* Widens n <= REF_CHUNK elements start, start + stride, ... of `t`; the dtype decides nothing but
 * how to read: any dtype goes to any wide type. */
void ref_load(union ref_chunk *to, wide w, const struct tensor *t, int64_t start, int64_t stride,
              int64_t n);
void ref_store(struct tensor *t, int64_t start, int64_t stride, int64_t n, wide w,
               const union ref_chunk *from);

/* One element; the slow way, for operators that hop about. */
double ref_get_any(const struct tensor *t, int64_t i);
int64_t ref_get_int_any(const struct tensor *t, int64_t i);
void ref_set(struct tensor *t, int64_t i, double v);
void ref_set_int(struct tensor *t, int64_t i, int64_t v);

static inline double ref_get(const struct tensor *t, int64_t i) {
    return t->dtype == DTYPE_F32 ? (double)((const float *)t->data)[i] : ref_get_any(t, i);
}

static inline int64_t ref_get_int(const struct tensor *t, int64_t i) {
    return t->dtype == DTYPE_I64 ? ((const int64_t *)t->data)[i] : ref_get_int_any(t, i);
}

/* Row-major positions of an n-dimensional block, with the element offset of up to REF_OPERANDS
 * operands that follow it, each by strides of its own (0: broadcast). */
enum { REF_OPERANDS = 8 };

struct ref_walk {
    int rank;
    size_t n_operands;
    int64_t dims[TENSOR_RANK_MAX];
    int64_t strides[REF_OPERANDS][TENSOR_RANK_MAX]; /* in elements */
    int64_t index[TENSOR_RANK_MAX];
    int64_t offset[REF_OPERANDS];
    bool is_done;
};

/* Row-major strides of `t`. */
void ref_strides(const struct tensor *t, int64_t strides[TENSOR_RANK_MAX]);

/* The block is `out`; operand i is tensors[i] broadcast to it. INVALID_ARGUMENT: it does not. */
NODISCARD status ref_walk_broadcast(struct ref_walk *w, const struct tensor *out,
                                    const struct tensor *const *tensors, size_t n,
                                    struct error *err);

/* Merges neighbouring dims that all operands walk alike; at least one dim is left. */
void ref_walk_merge(struct ref_walk *w);

/* To row number `row` of the walk. */
void ref_walk_seek(struct ref_walk *w, int64_t row);

/* To the next row: the last dim is the caller's loop. Sets is_done after the last one. */
void ref_walk_next_row(struct ref_walk *w);

/* Copies elements of `size` bytes from operand 1 to operand 0 of the walk, offsets included. */
void ref_walk_copy(struct ref_walk *w, void *to, const void *from, size_t size);

/* What the tail of Linear, Conv2d and ConvTranspose2d does to a sum. */
struct ref_tail {
    const struct tensor *bias, *residual; /* or NULL */
    bool is_residual_first;
    int activation;
    double alpha, beta, scale, shift;
};

/* `channels`: wanted elements of the bias; `out`: wanted dims of the residual. */
NODISCARD status ref_tail_read(struct ref_tail *tail, const struct kernel_call *c, int64_t channels,
                               struct error *err);
double ref_tail_apply(const struct ref_tail *tail, double sum, int64_t channel, int64_t at);
double ref_activation(int kind, double x, double alpha, double beta);

/* The dims of `t`, read as [before, dims[axis], after]. */
struct ref_split {
    int64_t before, n, after;
};
struct ref_split ref_split_at(const struct tensor *t, int axis);

/* An axis attribute or value as 0 .. rank - 1. */
NODISCARD status ref_axis(int64_t axis, int rank, int *out, struct error *err);

/* INVALID_ARGUMENT unless `t` has these dims. */
NODISCARD status ref_want_dims(const char *what, const struct tensor *t, const int64_t *dims,
                               int rank, struct error *err);

/* Copies the bytes of input 0 to output 0, which has as many. */
NODISCARD status ref_copy(const struct kernel_call *c, const struct kernel_team *t,
                          struct error *err);

#endif
