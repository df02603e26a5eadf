#include "compiler/passes/activation.h"

#include "compiler/passes/match.h"

bool activation_of(const struct node *n, struct activation_match *out) {
    *out = (struct activation_match){0};
    switch (n->op) {
    case OP_Relu:
        out->kind = ACTIVATION_RELU;
        return true;
    case OP_Clip:
        out->kind = ACTIVATION_CLIP;
        return clip_bounds(n, &out->alpha, &out->beta);
    case OP_Sigmoid:
        out->kind = ACTIVATION_SIGMOID;
        return true;
    case OP_Tanh:
        out->kind = ACTIVATION_TANH;
        return true;
    case OP_HardSwish:
        out->kind = ACTIVATION_HARD_SWISH;
        return true;
    case OP_Swish:
        out->kind = ACTIVATION_SILU;
        out->alpha = attr_float(&n->attrs, "alpha", 1.0f);
        return true;
    case OP_HardSigmoid:
        out->kind = ACTIVATION_HARD_SIGMOID;
        out->alpha = attr_float(&n->attrs, "alpha", 0.2f);
        out->beta = attr_float(&n->attrs, "beta", 0.5f);
        return true;
    case OP_LeakyRelu:
        out->kind = ACTIVATION_LEAKY_RELU;
        out->alpha = attr_float(&n->attrs, "alpha", 0.01f);
        return true;
    case OP_Gelu:
        out->kind = str_eq_c(attr_string(&n->attrs, "approximate", "none"), "tanh")
                        ? ACTIVATION_GELU_TANH
                        : ACTIVATION_GELU_ERF;
        return true;
    default:
        return false;
    }
}
