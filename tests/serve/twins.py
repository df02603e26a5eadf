"""Writes the model repository of tests/golden-triton: ONNX files that compute what the captured models computed, and the
small models of the other serving tests.

    python3 tests/serve/twins.py FOLDER
"""
import pathlib
import shutil
import struct
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools/models"))
from onnx_writer import FLOAT, INT32, Model  # noqa: E402


def add_sub():
    m = Model("add_sub", opset=14)
    for name in ("INPUT0", "INPUT1"):
        m.input(name, INT32, ["batch", 4])
    for name in ("OUTPUT0", "OUTPUT1"):
        m.output(name, INT32, ["batch", 4])
    m.node("Add", ["INPUT0", "INPUT1"], "OUTPUT0")
    m.node("Sub", ["INPUT0", "INPUT1"], "OUTPUT1")
    return m.bytes()


def identity(pairs):
    """Copies inputs to outputs: [(input, output, type, dims)]."""
    m = Model("identity", opset=14)
    for source, _, dtype, dims in pairs:
        m.input(source, dtype, dims)
    for _, target, dtype, dims in pairs:
        m.output(target, dtype, dims)
    for source, target, _, _ in pairs:
        m.node("Identity", [source], target)
    return m.bytes()


def version(number):
    """Answers `number` whatever it is asked."""
    m = Model("version", opset=14)
    m.input("IN", INT32, [1])
    m.output("VERSION", INT32, [1])
    zero = m.raw("zero", INT32, [1], struct.pack("<i", 0))
    own = m.raw("own", INT32, [1], struct.pack("<i", number))
    m.node("Add", [m.node("Mul", ["IN", zero]), own], "VERSION")
    return m.bytes()


def wide(n):
    """A matrix of n x n, so a plan of 4 n n bytes and more."""
    m = Model("wide", opset=14)
    m.input("x", FLOAT, ["batch", n])
    m.output("y", FLOAT, ["batch", n])
    m.node("MatMul", ["x", m.floats("w", [n, n], [1.0] * (n * n))], "y")
    return m.bytes()


def put(folder, model, number, data):
    path = pathlib.Path(folder) / model / str(number)
    path.mkdir(parents=True, exist_ok=True)
    (path / "model.onnx").write_bytes(data)


def write_repository(folder):
    shutil.copytree(ROOT / "tests/golden-triton/repository", folder, dirs_exist_ok=True)
    put(folder, "add_sub", 1, add_sub())
    put(folder, "identity_fp32", 1, identity([("INPUT0", "OUTPUT0", FLOAT, ["n"])]))
    put(folder, "classify", 1, identity([("SCORES", "PROBS", FLOAT, ["batch", 5])]))
    put(folder, "reshaped", 1,
        identity([("INPUT0", "OUTPUT0", FLOAT, ["batch", 2, 3]), ("S", "S_OUT", INT32, ["batch"])]))
    for number in (1, 2, 3):
        put(folder, "versions", number, version(number))
    return folder


if __name__ == "__main__":
    write_repository(sys.argv[1])
