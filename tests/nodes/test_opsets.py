"""Operators at the opsets of old exporters, and with attributes that the node tests do not try, against ONNX Runtime.

ONNX's own node tests are written for the newest opset only; models in the wild are at 7 to 18.
"""
import itertools

import numpy as np
import onnx
import onnxruntime
import pytest
import run as nodes
from onnx import helper

F, I64, I32, U8, BOOL = np.float32, np.int64, np.int32, np.uint8, np.bool_
rng = np.random.default_rng(7)


def f(*dims):
    return rng.standard_normal(dims).astype(F)


def ints(*values):
    return np.array(values, I64)


def floats(*values):
    return np.array(values, F)


# (operator, opset, inputs (None: left out), attributes).
X4 = f(2, 3, 6, 5)
CASES = [
    *[(op, v, [f(2, 3, 4)], {"axis": a}) for op in ("Softmax", "LogSoftmax", "Hardmax") for v in (7, 11, 13) for a in (0, 1, 2)],
    ("Softmax", 11, [f(2, 3, 4)], {}),
    ("Softmax", 12, [f(2, 3, 4)], {"axis": -1}),
    ("Clip", 7, [X4], {"min": -0.5, "max": 0.5}),
    ("Clip", 7, [X4], {"max": 0.25}),
    ("Clip", 12, [ints(1, 5, 9), np.array(2, I64), np.array(6, I64)], {}),
    ("Upsample", 7, [X4], {"scales": [1.0, 1.0, 2.0, 2.0]}),
    ("Upsample", 9, [X4, floats(1, 1, 2, 3)], {"mode": "nearest"}),
    ("Upsample", 9, [X4, floats(1, 1, 2, 2)], {"mode": "linear"}),
    ("Resize", 10, [X4, floats(1, 1, 2, 2)], {"mode": "nearest"}),
    ("Resize", 10, [X4, floats(1, 1, 0.5, 2)], {"mode": "linear"}),
    *[("Resize", 11, [X4, floats(), floats(1, 1, 2, 1.6)], {"mode": m, "coordinate_transformation_mode": c, **n})
      for m, c in itertools.product(("nearest", "linear", "cubic"), ("half_pixel", "asymmetric", "pytorch_half_pixel"))
      for n in ([{"nearest_mode": x} for x in ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")] if m == "nearest" else [{}])],
    *[("Resize", 13, [X4, None, None, ints(2, 3, 11, 7)], {"mode": m, "coordinate_transformation_mode": "align_corners"})
      for m in ("linear", "cubic")],
    *[("Resize", 18, [X4, None, None, ints(3, 4)], {"mode": m, "axes": [2, 3], "antialias": 1}) for m in ("linear", "cubic")],
    ("Slice", 9, [X4], {"starts": [1, -4], "ends": [2, 100], "axes": [1, 2]}),
    ("Slice", 9, [X4], {"starts": [0, 1], "ends": [1, -1]}),
    ("Slice", 10, [X4, ints(-1), ints(-100), ints(3), ints(-2)], {}),
    ("Slice", 13, [X4, ints(5, 0), ints(-(2**63), 2**63 - 1), ints(2, -1), ints(-1, 2)], {}),
    ("Pad", 7, [X4], {"pads": [0, 1, 2, 0, 0, 1, 0, 3], "value": 1.5}),
    ("Pad", 7, [X4], {"pads": [0, 0, 1, 2, 0, 0, 3, 1], "mode": "reflect"}),
    ("Pad", 11, [X4, ints(0, 0, 1, 2, 0, 0, 3, 1)], {"mode": "edge"}),
    ("Pad", 13, [X4, ints(0, 0, -1, 2, 0, 0, 3, -2), np.array(2, F)], {}),
    ("Squeeze", 11, [f(1, 3, 1)], {"axes": [0]}),
    ("Squeeze", 11, [f(1, 3, 1)], {}),
    ("Unsqueeze", 11, [f(3, 4)], {"axes": [0, 3]}),
    *[("Reduce" + r, v, [X4], {"axes": [1, -1], "keepdims": k})
      for r in ("Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "SumSquare", "LogSumExp") for v in (7, 12) for k in (0, 1) if v > 10],
    ("ReduceMean", 17, [X4], {"axes": [2, 3], "keepdims": 0}),
    ("ReduceSum", 13, [X4, ints(0, 2)], {"keepdims": 0}),
    ("ReduceSum", 13, [X4], {"noop_with_empty_axes": 1}),
    ("Split", 11, [X4], {"axis": 2, "split": [1, 5]}),
    ("Split", 11, [X4], {"axis": 2}),
    ("Split", 13, [X4, ints(2, 4)], {"axis": -2}),
    ("Split", 18, [X4], {"axis": 3, "num_outputs": 2}),
    ("TopK", 9, [X4], {"k": 2, "axis": 1}),
    ("TopK", 10, [X4, ints(3)], {}),
    ("TopK", 11, [X4, ints(3)], {"largest": 0, "axis": -2}),
    ("Dropout", 7, [X4], {"ratio": 0.3}),
    ("Dropout", 10, [X4], {"ratio": 0.3}),
    ("Dropout", 13, [X4, np.array(0.3, F)], {}),
    ("BatchNormalization", 7, [X4, f(3), f(3), f(3), f(3) ** 2], {"epsilon": 1e-3}),
    ("BatchNormalization", 9, [X4, f(3), f(3), f(3), f(3) ** 2], {}),
    ("BatchNormalization", 15, [X4, f(3), f(3), f(3), f(3) ** 2], {}),
    ("InstanceNormalization", 7, [X4, f(3), f(3)], {}),
    ("LayerNormalization", 17, [X4, f(6, 5), f(6, 5)], {"axis": 2}),
    ("LRN", 7, [f(2, 7, 3, 3)], {"size": 3, "alpha": 0.5, "beta": 0.6, "bias": 1.2}),
    ("LpNormalization", 7, [X4], {"axis": 1, "p": 1}),
    ("Gemm", 7, [f(4, 3), f(4, 5), f(5)], {"transA": 1, "alpha": 0.5, "beta": 2.0}),
    ("Gemm", 11, [f(3, 4), f(5, 4), f(3, 1)], {"transB": 1}),
    ("MatMul", 9, [f(4), f(2, 4, 3)], {}),
    ("MatMul", 9, [f(2, 1, 3, 4), f(5, 4, 2)], {}),
    ("Flatten", 9, [X4], {"axis": 2}),
    ("Flatten", 11, [X4], {"axis": -1}),
    ("Reshape", 7, [X4, ints(0, -1, 5)], {}),
    ("Expand", 8, [f(3, 1), ints(2, 1, 6)], {}),
    ("Tile", 7, [f(2, 3), ints(2, 3)], {}),
    ("ArgMax", 11, [X4], {"axis": 1, "keepdims": 0}),
    ("ArgMin", 12, [X4], {"axis": -1, "select_last_index": 1}),
    ("CumSum", 11, [f(3, 4), np.array(1, I32)], {"exclusive": 1, "reverse": 1}),
    ("Scatter", 9, [f(3, 3), np.array([[1, 0, 2]], I64), f(1, 3)], {"axis": 0}),
    ("ScatterElements", 16, [f(3, 3), np.array([[1, -1, 1]], I64), f(1, 3)], {"axis": 1, "reduction": "add"}),
    ("ScatterND", 16, [f(4, 3), np.array([[1], [1]], I64), f(2, 3)], {"reduction": "mul"}),
    ("GatherND", 12, [f(2, 3, 4), np.array([[[0], [2]], [[1], [-1]]], I64)], {"batch_dims": 1}),
    ("OneHot", 9, [np.array([[0, 2], [1, -1]], I64), np.array(3, I64), floats(-1, 4)], {"axis": 1}),
    ("NonMaxSuppression", 10, [rng.random((1, 6, 4)).astype(F), rng.random((1, 2, 6)).astype(F), np.array([3], I64), np.array([0.4], F), np.array([0.1], F)], {}),
    ("Mod", 10, [np.array([-5, 5, 7], I32), np.array([3, -3, -4], I32)], {}),
    ("Mod", 10, [floats(-5.5, 5, 7), floats(3, -3, -4)], {"fmod": 1}),
    ("Range", 11, [np.array(1, F), np.array(3, F), np.array(0.3, F)], {}),
    ("Range", 11, [np.array(9, I64), np.array(-2, I64), np.array(-3, I64)], {}),
    ("Einsum", 12, [f(2, 3, 4), f(2, 4, 5)], {"equation": "bij,bjk->bki"}),
    ("Einsum", 12, [f(2, 3, 4), f(4, 3)], {"equation": "bij , jk"}),
    ("DepthToSpace", 11, [f(1, 8, 2, 3)], {"blocksize": 2, "mode": "CRD"}),
    ("Where", 9, [np.array([[True], [False]]), f(2, 3), f(3)], {}),
    ("Pow", 7, [np.abs(f(3, 4)), f(4)], {}),
    ("Pow", 12, [np.array([2, 3, 4], I32), floats(2, 0.5, 1)], {}),
    ("Div", 7, [np.array([7, -7, 9], I32), np.array([2, 2, -4], I32)], {}),
    ("Gelu", 20, [X4], {"approximate": "tanh"}),
    ("Trilu", 14, [f(4, 5), np.array(-1, I64)], {"upper": 0}),
    ("QuantizeLinear", 13, [X4 * 50, floats(0.5, 0.25, 1), np.array([3, 128, 0], U8)], {"axis": 1}),
    ("DequantizeLinear", 10, [np.array([0, 3, 128, 255], U8), np.array(0.1, F), np.array(128, U8)], {}),
    ("MatMulInteger", 10, [rng.integers(0, 255, (3, 4)).astype(U8), rng.integers(0, 255, (4, 5)).astype(U8), np.array(12, U8)], {}),
    # convolutions and pools: auto_pad, ceil_mode, groups, dilations, one and three spatial axes
    *[("Conv", 7, [f(2, 4, 7, 6), f(6, 4, 3, 2)], {"auto_pad": p, "strides": [2, 1]}) for p in ("SAME_UPPER", "SAME_LOWER", "VALID")],
    ("Conv", 11, [f(2, 4, 9), f(6, 2, 3), f(6)], {"group": 2, "dilations": [2], "pads": [2, 1], "strides": [2]}),
    ("Conv", 11, [f(1, 2, 5, 6, 7), f(3, 2, 2, 3, 3)], {"pads": [1, 0, 1, 0, 2, 1]}),
    *[("ConvTranspose", 11, [f(1, 4, 4, 5), f(4, 3, 3, 3)], {"strides": [2, 2], **a})
      for a in ({}, {"auto_pad": "SAME_UPPER"}, {"output_padding": [1, 1], "pads": [1, 1, 1, 1]}, {"output_shape": [10, 9]}, {"dilations": [2, 1]})],
    ("ConvTranspose", 11, [f(1, 4, 5), f(4, 2, 3), f(4)], {"group": 2, "strides": [3]}),
    *[(op, v, [X4], {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 1, 1], "ceil_mode": c, **n})
      for op, v, c in itertools.product(("MaxPool", "AveragePool"), (10, 19), (0, 1))
      for n in ([{"count_include_pad": 0}, {"count_include_pad": 1}] if op == "AveragePool" else [{}])],
    *[(op, 7, [X4], {"kernel_shape": [2, 3], "strides": [2, 2], "auto_pad": p}) for op in ("MaxPool", "AveragePool") for p in ("SAME_UPPER", "SAME_LOWER")],
    ("MaxPool", 12, [f(1, 2, 9)], {"kernel_shape": [3], "dilations": [2]}),
    ("GlobalAveragePool", 7, [f(2, 3, 4, 5, 6)], {}),
    ("LpPool", 11, [X4], {"kernel_shape": [2, 2], "p": 3}),
]
N_OUTPUTS = {"TopK": 2, "Split": 2}


def model_of(op, opset, inputs, attributes):
    names = [f"x{i}" if a is not None else "" for i, a in enumerate(inputs)]
    outputs = [f"y{i}" for i in range(N_OUTPUTS.get(op, 1))]
    node = helper.make_node(op, names, outputs, **attributes)
    # Lists are constants in models; the first input never is.
    fixed = [onnx.numpy_helper.from_array(a, n) for a, n in list(zip(inputs, names))[1:] if a is not None]
    first = helper.make_tensor_value_info("x0", helper.np_dtype_to_tensor_dtype(inputs[0].dtype), inputs[0].shape)
    graph = helper.make_graph([node], "g", [first], [helper.make_empty_tensor_value_info(o) for o in outputs], fixed)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=4 if opset < 15 else 9)


def with_types(model, answers):
    """ONNX Runtime's answers say what the outputs are; our importer wants them declared."""
    for o, a in zip(model.graph.output, answers):
        o.CopyFrom(helper.make_tensor_value_info(o.name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape))
    return model


@pytest.fixture(scope="module")
def host():
    h = nodes.Host(nodes.build_host("build/debug"), ["amx", "2"])
    yield h
    h.close()


@pytest.mark.parametrize("op,opset,inputs,attributes", CASES, ids=[f"{c[0]}-{c[1]}-{i}" for i, c in enumerate(CASES)])
def test_operator_at_opset(host, tmp_path, op, opset, inputs, attributes):
    model = model_of(op, opset, inputs, attributes)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    oracle = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    wanted = oracle.run(None, {"x0": inputs[0]})
    path = tmp_path / "model.onnx"
    path.write_bytes(with_types(model, wanted).SerializeToString())
    status, text, got = host.call(nodes.request(path, [("x0", inputs[0])]))
    assert status == 0, text
    for o, want in zip(model.graph.output, wanted):
        have = got[o.name]
        assert have.dtype == want.dtype and have.shape == want.shape
        np.testing.assert_allclose(have.astype(np.float64), want.astype(np.float64), rtol=1e-3, atol=1e-5)
