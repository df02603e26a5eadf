#!/usr/bin/env python3
"""What a model's answer is in float64, and where an engine loses it.

usage: truth.py MODEL.onnx INPUT=FILE.npy... [--precision=fp32|bf16] [--ops=Conv,MatMul,...]

Two engines that disagree do not say who is right. Here the graph runs in float64: onnx's reference evaluator, with our own
convolution, normalisation and products where it is slow or rounds. As a program it cuts the model behind each node of the named
ops, runs the piece with ONNX Runtime (not optimised) and with culmen, and prints how far each is from the truth: the largest error
as a part of the range, and the norm of the error as a part of the spread. A step that loses more than its neighbours stands out.
"""
import argparse
import os
import pathlib
import subprocess
import tempfile

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

ROOT = pathlib.Path(__file__).resolve().parents[2]


def same_pads(shape, kernel, strides, dilations, lower):
    begin, end = [], []
    for n, k, s, d in zip(shape, kernel, strides, dilations):
        total = max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0)
        begin.append(total - total // 2 if lower else total // 2)
        end.append(total - begin[-1])
    return begin + end


class Conv(OpRun):
    """Two dimensions; sums one tap of the window after the other."""

    def _run(self, x, w, b=None, auto_pad=None, dilations=None, group=None, kernel_shape=None, pads=None, strides=None):
        group, d, s = group or 1, list(dilations or [1, 1]), list(strides or [1, 1])
        pads = list(pads or [0] * 4)
        if auto_pad and auto_pad.startswith("SAME"):
            pads = same_pads(x.shape[2:], w.shape[2:], s, d, auto_pad == "SAME_LOWER")
        x = np.pad(x, ((0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3])))
        m, c, kh, kw = w.shape
        oh, ow = ((n - (k - 1) * d[i] - 1) // s[i] + 1 for i, (n, k) in enumerate(zip(x.shape[2:], (kh, kw))))
        y = np.zeros((x.shape[0], m, oh, ow), x.dtype)
        for i in range(kh):
            for j in range(kw):
                part = x[:, :, i * d[0] :, j * d[1] :][:, :, : (oh - 1) * s[0] + 1 : s[0], : (ow - 1) * s[1] + 1 : s[1]]
                if group == x.shape[1] == m:
                    y += part * w[None, :, 0, i, j, None, None]
                else:
                    for g in range(group):
                        rows = slice(g * m // group, (g + 1) * m // group)
                        y[:, rows] += np.einsum("mc,bchw->bmhw", w[rows, :, i, j], part[:, g * c : (g + 1) * c], optimize=True)
        return (y if b is None else y + b[None, :, None, None],)


class BatchNormalization(OpRun):
    def _run(self, x, scale, bias, mean, var, epsilon=None, momentum=None, training_mode=None, spatial=None):
        s, b, m, v = (p.reshape((1, -1) + (1,) * (x.ndim - 2)) for p in (scale, bias, mean, var))
        return ((x - m) / np.sqrt(v + (1e-5 if epsilon is None else epsilon)) * s + b,)


class HardSigmoid(OpRun):
    def _run(self, x, alpha=None, beta=None):
        return (np.clip(x * (0.2 if alpha is None else alpha) + (0.5 if beta is None else beta), 0, 1),)


class MatMul(OpRun):
    def _run(self, a, b):
        return (np.matmul(a, b),)


def widen_tensor(t):
    if t.data_type == TensorProto.FLOAT:
        t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(t).astype(np.float64), t.name))


def widen(model):
    """`model` in float64: weights, constants, casts and declared types."""
    wide = onnx.ModelProto.FromString(model.SerializeToString())
    for t in wide.graph.initializer:
        widen_tensor(t)
    for node in wide.graph.node:
        for a in node.attribute:
            if a.type == onnx.AttributeProto.TENSOR:
                widen_tensor(a.t)
            elif node.op_type == "Cast" and a.name == "to" and a.i == TensorProto.FLOAT:
                a.i = TensorProto.DOUBLE
    for v in [*wide.graph.input, *wide.graph.output, *wide.graph.value_info]:
        if v.type.tensor_type.elem_type == TensorProto.FLOAT:
            v.type.tensor_type.elem_type = TensorProto.DOUBLE
    return wide


def truth(model, feed, names=None):
    """{name: float64 array} of the model's outputs, or of the values called `names`."""
    wide = widen(onnx.load(str(model)) if not isinstance(model, onnx.ModelProto) else model)
    if names:
        del wide.graph.output[:]
        wide.graph.output.extend(onnx.helper.make_tensor_value_info(n, TensorProto.DOUBLE, None) for n in names)
    evaluator = ReferenceEvaluator(wide, new_ops=[Conv, BatchNormalization, HardSigmoid, MatMul])
    feed = {n: a.astype(np.float64) if a.dtype == np.float32 else a for n, a in feed.items()}
    return dict(zip([o.name for o in wide.graph.output], evaluator.run(None, feed)))


def cut(model, name):
    """The part of `model` that makes the value `name`, its only output."""
    part = onnx.ModelProto.FromString(model.SerializeToString())
    needed, nodes = {name}, []
    for node in reversed(part.graph.node):
        if needed & set(node.output):
            nodes.insert(0, node)
            needed |= set(node.input)
    del part.graph.node[:], part.graph.output[:]
    part.graph.node.extend(nodes)
    part.graph.output.append(onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    return part


def culmen(model, feed, precision, folder):
    onnx.save(model, f"{folder}/part.onnx")
    inputs = []
    for i, (name, array) in enumerate(feed.items()):
        np.save(f"{folder}/{i}.npy", array)
        inputs.append(f"--input={name}={folder}/{i}.npy")
    program = os.environ.get("CULMEN", ROOT / "build/release/culmen")
    subprocess.run([program, "run", f"{folder}/part.onnx", *inputs, f"--precision={precision}", f"--output-dir={folder}/out"], check=True,
                   stdout=subprocess.DEVNULL)
    (result,) = pathlib.Path(folder, "out").glob("*.npy")
    array = np.load(result)
    result.unlink()
    return array


def loss(got, true):
    error = got.astype(np.float64) - true
    spread = np.linalg.norm(true - true.mean())
    return f"{np.abs(error).max() / max(np.ptp(true), 1e-300):8.1e} {np.linalg.norm(error) / max(spread, 1e-300):8.1e}"


def main():
    import onnxruntime

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("inputs", nargs="+", metavar="INPUT=FILE.npy")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--ops", default="Conv,ConvTranspose,MatMul,Gemm,GlobalAveragePool,Softmax,Sigmoid,HardSigmoid")
    args = parser.parse_args()
    model = onnx.load(args.model)
    feed = {name: np.load(path) for name, path in (i.rsplit("=", 1) for i in args.inputs)}
    nodes = [n for n in model.graph.node if n.op_type in args.ops.split(",")]
    true = truth(model, feed, [n.output[0] for n in nodes])
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    print(f"{'op':18} {'value':36} {'shape':20}  range    ONNX Runtime: max, norm    culmen {args.precision}: max, norm")
    with tempfile.TemporaryDirectory() as folder:
        for node in nodes:
            name, part = node.output[0], cut(model, node.output[0])
            session = onnxruntime.InferenceSession(part.SerializeToString(), options, providers=["CPUExecutionProvider"])
            wanted = {i.name for i in part.graph.input}
            (theirs,) = session.run(None, {n: a for n, a in feed.items() if n in wanted})
            ours = culmen(part, feed, args.precision, folder)
            shape = "x".join(map(str, theirs.shape))
            print(f"{node.op_type:18} {name[-36:]:36} {shape:20} {np.ptp(true[name]):8.1e}   {loss(theirs, true[name])}         {loss(ours, true[name])}",
                  flush=True)


if __name__ == "__main__":
    main()
