#!/usr/bin/env python3
"""Writes the models that bench/compare.py times: ViT-B/16, BERT-base and ResNet-50 at their real sizes.

usage: models.py DIR [NAME ...]

Random weights (a fixed seed), scaled so that activations keep their size from layer to layer: speed and the
agreement of two engines do not depend on what the weights mean. The batch is 1 and static, which is each rival's
best case. Real models come from tools/fetch-models.
"""
import os
import sys

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools", "models"))
from onnx_writer import FLOAT, INT64, Model  # noqa: E402


class Net:
    def __init__(self, name, opset=18):
        self.m, self.rng, self.n = Model(name, opset), np.random.default_rng(0), 0

    def weight(self, *dims, fan_in=None, mean=0.0):
        self.n += 1
        scale = 0.02 if fan_in is None else fan_in**-0.5
        values = (self.rng.standard_normal(dims) * scale + mean).astype("<f4")
        return self.m.raw(f"w{self.n}", FLOAT, list(dims), values.tobytes())

    def ints(self, *values):
        self.n += 1
        return self.m.ints(f"i{self.n}", list(values))

    def scalar(self, value):
        self.n += 1
        return self.m.scalar(f"s{self.n}", value)

    def linear(self, x, k, n):
        return self.m.node("Add", [self.m.node("MatMul", [x, self.weight(k, n, fan_in=k)]), self.weight(n)])

    def norm(self, x, width):
        return self.m.node("LayerNormalization", [x, self.weight(width, mean=1.0), self.weight(width)], axis=-1, epsilon=1e-6)

    def gelu(self, x):
        erf = self.m.node("Erf", [self.m.node("Div", [x, self.scalar(2**0.5)])])
        return self.m.node("Mul", [self.m.node("Mul", [x, self.m.node("Add", [erf, self.scalar(1.0)])]), self.scalar(0.5)])

    def attention(self, x, heads, width, mask=None):
        size, node = width // heads, self.m.node
        q, k, v = (node("Reshape", [self.linear(x, width, width), self.ints(0, 0, heads, size)]) for _ in range(3))
        q, v = (node("Transpose", [t], perm=[0, 2, 1, 3]) for t in (q, v))
        k = node("Transpose", [k], perm=[0, 2, 3, 1])
        scores = node("Div", [node("MatMul", [q, k]), self.scalar(size**0.5)])
        if mask:
            scores = node("Add", [scores, mask])
        y = node("MatMul", [node("Softmax", [scores], axis=-1), v])
        y = node("Reshape", [node("Transpose", [y], perm=[0, 2, 1, 3]), self.ints(0, 0, width)])
        return self.linear(y, width, width)


def vit():
    """ViT-B/16: 86 M parameters, 35.1 GFLOP."""
    n, width = Net("vit_b16"), 768
    node = n.m.node
    n.m.input("image", FLOAT, [1, 3, 224, 224])
    x = node("Conv", ["image", n.weight(width, 3, 16, 16, fan_in=768), n.weight(width)], kernel_shape=[16, 16], strides=[16, 16])
    x = node("Transpose", [node("Reshape", [x, n.ints(1, width, 196)])], perm=[0, 2, 1])
    x = node("Add", [node("Concat", [n.weight(1, 1, width), x], axis=1), n.weight(1, 197, width)])
    for _ in range(12):
        x = node("Add", [x, n.attention(n.norm(x, width), 12, width)])
        x = node("Add", [x, n.linear(n.gelu(n.linear(n.norm(x, width), width, 3072)), 3072, width)])
    x = node("Gather", [n.norm(x, width), n.m.raw("first", INT64, [], (0).to_bytes(8, "little"))], axis=1)
    node("Gemm", [x, n.weight(1000, width, fan_in=width), n.weight(1000)], "logits", transB=1)
    n.m.output("logits", FLOAT, [1, 1000])
    return n.m.bytes()


def bert():
    """BERT-base at 128 tokens: 109 M parameters, 22.4 GFLOP."""
    n, width, length = Net("bert_base"), 768, 128
    node = n.m.node
    for name in ("input_ids", "attention_mask", "token_type_ids"):
        n.m.input(name, INT64, [1, length])
    x = node("Add", [node("Gather", [n.weight(30522, width), "input_ids"]), node("Gather", [n.weight(2, width), "token_type_ids"])])
    x = n.norm(node("Add", [x, n.weight(1, length, width)]), width)
    mask = node("Cast", [node("Unsqueeze", ["attention_mask", n.ints(1, 2)])], to=FLOAT)
    mask = node("Mul", [node("Sub", [n.scalar(1.0), mask]), n.scalar(-3.4028235e38)])
    for _ in range(12):
        x = n.norm(node("Add", [n.attention(x, 12, width, mask), x]), width)
        x = n.norm(node("Add", [n.linear(n.gelu(n.linear(x, width, 3072)), 3072, width), x]), width)
    node("Identity", [x], "last_hidden_state")
    n.m.output("last_hidden_state", FLOAT, [1, length, width])
    return n.m.bytes()


def resnet50():
    """ResNet-50 v1.5: 25.6 M parameters, 8.2 GFLOP."""
    n = Net("resnet50")
    node = n.m.node

    def conv(x, c, m, kernel, stride=1, relu=True):
        pad = kernel // 2
        x = node("Conv", [x, n.weight(m, c, kernel, kernel, fan_in=c * kernel * kernel / 2)], kernel_shape=[kernel, kernel],
                 strides=[stride, stride], pads=[pad] * 4)
        var = n.m.raw(f"var{n.n}", FLOAT, [m], n.rng.uniform(0.8, 1.2, m).astype("<f4").tobytes())
        x = node("BatchNormalization", [x, n.weight(m, mean=1.0), n.weight(m), n.weight(m), var], epsilon=1e-5)
        return node("Relu", [x]) if relu else x

    n.m.input("image", FLOAT, [1, 3, 224, 224])
    x = node("MaxPool", [conv("image", 3, 64, 7, 2)], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    c = 64
    for width, blocks, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for i in range(blocks):
            step = stride if i == 0 else 1
            y = conv(conv(conv(x, c, width, 1), width, width, 3, step), width, 4 * width, 1, relu=False)
            if i == 0:
                x = conv(x, c, 4 * width, 1, step, relu=False)
            x = node("Relu", [node("Add", [y, x])])
            c = 4 * width
    x = node("Flatten", [node("GlobalAveragePool", [x])], axis=1)
    node("Gemm", [x, n.weight(1000, c, fan_in=c), n.weight(1000)], "logits", transB=1)
    n.m.output("logits", FLOAT, [1, 1000])
    return n.m.bytes()


MODELS = {"vit": vit, "bert": bert, "resnet50": resnet50}

if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    os.makedirs(sys.argv[1], exist_ok=True)
    for model in sys.argv[2:] or MODELS:
        path = os.path.join(sys.argv[1], model + ".onnx")
        if not os.path.exists(path):
            with open(path + ".part", "wb") as f:
                f.write(MODELS[model]())
            os.replace(path + ".part", path)
        print(path, f"{os.path.getsize(path):,} bytes")
