/* Activations, and the tail that fused products end in. */
#include <inttypes.h>
#include <math.h>

#include "kernels/ref/ref_internal.h"
#include "ops/fused.h"

double ref_activation(int kind, double x, double alpha, double beta) {
    switch ((enum activation)kind) {
    case ACTIVATION_RELU:
        return x < 0 ? 0 : x;
    case ACTIVATION_CLIP:
        return x < alpha ? alpha : x > beta ? beta : x;
    case ACTIVATION_GELU_ERF:
        return 0.5 * x * (1 + erf(x * M_SQRT1_2));
    case ACTIVATION_GELU_TANH:
        return 0.5 * x * (1 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)));
    case ACTIVATION_SILU:
        return x / (1 + exp(-alpha * x));
    case ACTIVATION_SIGMOID:
        return 1 / (1 + exp(-x));
    case ACTIVATION_TANH:
        return tanh(x);
    case ACTIVATION_HARD_SIGMOID:
        x = alpha * x + beta;
        return x < 0 ? 0 : x > 1 ? 1 : x;
    case ACTIVATION_HARD_SWISH: {
        double gate = x / 6 + 0.5;
        return x * (gate < 0 ? 0 : gate > 1 ? 1 : gate);
    }
    case ACTIVATION_LEAKY_RELU:
        return x < 0 ? alpha * x : x;
    case ACTIVATION_NONE:
    case ACTIVATION_COUNT:
        break;
    }
    return x;
}

status ref_tail_read(struct ref_tail *tail, const struct kernel_call *c, int64_t channels,
                     struct error *err) {
    const struct tensor *out = c->out[0];
    *tail = (struct ref_tail){
        .bias = ref_in(c, 2),
        .residual = ref_in(c, 3),
        .is_residual_first = attr_int(c->attrs, "residual_first", 0) != 0,
        .activation = (int)attr_int(c->attrs, "activation", ACTIVATION_NONE),
        .alpha = (double)attr_float(c->attrs, "alpha",
                                    attr_int(c->attrs, "activation", 0) == ACTIVATION_SILU),
        .beta = (double)attr_float(c->attrs, "beta", 0),
        .scale = (double)attr_float(c->attrs, "scale", 1),
        .shift = (double)attr_float(c->attrs, "shift", 0),
    };
    if (tail->bias && tensor_n_elements(tail->bias) != channels)
        return error_set(err, STATUS_INVALID_ARGUMENT,
                         "bias has %" PRId64 " elements, wanted %" PRId64,
                         tensor_n_elements(tail->bias), channels);
    if (tail->residual)
        return ref_want_dims("residual", tail->residual, out->dims, out->rank, err);
    return STATUS_OK;
}

double ref_tail_apply(const struct ref_tail *tail, double sum, int64_t channel, int64_t at) {
    double residual = tail->residual ? ref_get(tail->residual, at) : 0;
    sum += tail->bias ? ref_get(tail->bias, channel) : 0;
    if (tail->is_residual_first)
        sum += residual;
    sum =
        ref_activation(tail->activation, sum, tail->alpha, tail->beta) * tail->scale + tail->shift;
    return tail->is_residual_first ? sum : sum + residual;
}
