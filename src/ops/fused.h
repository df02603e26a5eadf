/* fused.h - the operators of the domain "culmen": what passes make out of ONNX and kernels run.
 *
 * Shapes below are row-major. Activations may be F32 or BF16, each operand by itself; sums are
 * kept in F32; biases, scales and masks are F32. The dtype of an output is the attribute "dtype"
 * (an int, enum dtype; default F32).
 *
 * Linear      x [..., K], w [K, N] constant, bias [N]?, residual [..., N]?       -> y [..., N]
 *             y = x w + bias, then the tail. w has x's dtype, or BF16 beside an F32 x.
 * Conv2d      x [B, H, W, C], w [M, KH, KW, C/group] constant, bias [M]?, residual [B, OH, OW, M]?
 *             attributes strides, pads [top, left, bottom, right], dilations (2 ints), group; tail.
 *             A 1-d convolution has H = KH = 1. Depthwise is group = C.
 * ConvTranspose2d  x [B, H, W, C], w [C, KH, KW, M] constant, bias [M]?
 *             attributes strides, pads, dilations, output_padding (2 ints), group = 1; tail.
 * Pool2d      x [B, H, W, C] -> [B, OH, OW, C]; attributes kind ("max", "average"), kernel_shape,
 *             strides, pads, dilations, ceil_mode, count_include_pad as ONNX's; global = 1: one window.
 * Resize2d    x [B, H, W, C]; input 1: sizes [2] I64 (OH, OW) or absent with attribute scales
 *             (2 floats); attributes mode ("nearest", "linear"), coordinate, nearest_mode as ONNX's.
 * Attention   q [B, Sq, *], k [B, Sk, *], v [B, Sk, *], mask?  -> y [B, Sq, heads * head_size_v]
 *             Head h of q is columns q_offset + h * head_size ... of each row; k and v alike with
 *             k_offset, v_offset, so a joint QKV tensor is passed three times. softmax(scale q k^T +
 *             mask) v. mask: F32, added, broadcastable to [B, heads, Sq, Sk].
 *             attributes heads, head_size, head_size_v (default head_size), scale, q_offset, k_offset,
 *             v_offset.
 * Norm        x [..., D], scale [D]?, bias [D]?, residual [..., D]? -> y [..., D], y2?, sum?
 *             s = x + residual; kind "layer": (s - mean) / sqrt(var + epsilon) * scale + bias;
 *             kind "rms": s / sqrt(mean s^2 + epsilon) * scale; kind "l2": s / max(sqrt(sum s^2),
 *             epsilon). y2 is y again in dtype "dtype2"; sum is s in dtype "dtype3".
 * Elementwise in0 ... in7, broadcast together -> out0 ... out3, all of the broadcast shape
 *             attribute code: ints, five for an instruction {EW_x, dst, a, b, c}; register i < n_in
 *             is input i as F32; others are scratch. consts: floats. results: the register of each
 *             output; dtypes: its dtype. The one output of a step may be the memory of an input of
 *             the same dims and element size that no instruction reads after the first one
 *             that writes the output's register.
 * Every other step is an ONNX operator under its own name.
 *
 * The tail of Linear, Conv2d, ConvTranspose2d: with residual_first = 0 (default)
 *     y = activation(sum + bias) scale + shift + residual;
 *     residual_first = 1: y = activation(sum + bias + residual) scale + shift.
 * attributes activation (an int, ACTIVATION_x), alpha, beta, scale (default 1), shift (floats). */
#ifndef OPS_FUSED_H
#define OPS_FUSED_H

#include "base/status.h"
#include "ops/attr.h"

typedef enum activation {
    ACTIVATION_NONE,
    ACTIVATION_RELU,
    ACTIVATION_CLIP,      /* min(max(x, alpha), beta); relu6 is 0, 6 */
    ACTIVATION_GELU_ERF,  /* x/2 (1 + erf(x / sqrt 2)) */
    ACTIVATION_GELU_TANH, /* x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) */
    ACTIVATION_SILU,      /* x sigmoid(alpha x); alpha 1 is SiLU, 1.702 quick GELU */
    ACTIVATION_SIGMOID,
    ACTIVATION_TANH,
    ACTIVATION_HARD_SIGMOID, /* min(max(alpha x + beta, 0), 1) */
    ACTIVATION_HARD_SWISH,   /* x min(max(x/6 + 1/2, 0), 1) */
    ACTIVATION_LEAKY_RELU,   /* x < 0 ? alpha x : x */
    ACTIVATION_COUNT
} activation;

/* Instructions of Elementwise. `a`, `b`, `c` are registers unless said otherwise. */
typedef enum ew_op {
    EW_CONST, /* dst = consts[a] */
    EW_ADD,
    EW_SUB,
    EW_MUL,
    EW_DIV,
    EW_MIN,
    EW_MAX,
    EW_POW,
    EW_NEG,
    EW_ABS,
    EW_SQRT,
    EW_RECIPROCAL,
    EW_EXP,
    EW_LOG,
    EW_ERF,
    EW_TANH,
    EW_SIGMOID,
    EW_FLOOR,
    EW_CEIL,
    EW_ROUND, /* half to even */
    EW_ACT, /* dst = activation number b (immediate) of a, alpha = consts[c], beta = consts[c + 1] */
    EW_FMA, /* dst = a * b + c */
    EW_COUNT
} ew_op;

enum { EW_INPUTS_MAX = 8, EW_OUTPUTS_MAX = 4, EW_REGISTERS_MAX = 32, EW_CODE_MAX = 128 };

/* INVALID_ARGUMENT unless the attributes of an Elementwise name only registers, constants and
 * dtypes that exist, and no instruction writes the register of an input. */
NODISCARD status elementwise_check(const struct attr_list *attrs, size_t n_in, size_t n_out,
                                   struct error *err);

#endif
