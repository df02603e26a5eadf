#!/usr/bin/env python3
"""ONNX's node tests through the whole of culmen: compiled to a plan in memory, opened, run, compared.

    tests/nodes/run.py [--verbose] [--isa=LEVEL] [--threads=N] [--build=DIR] [--update] [NAME...]

A case counts when every operator of its graph is in src/ops/ops.def and every tensor has a type that we have;
the others are skipped. A case that counts must pass, or stand in expected.txt with the reason why it does not; a case
of expected.txt that passes is a failure too. NAME: only cases whose name contains it. --update rewrites
expected.txt, keeping the reasons that are there.
"""

import argparse
import collections
import os
import pathlib
import re
import struct
import subprocess
import sys
import warnings

warnings.filterwarnings("ignore")
import numpy as np  # noqa: E402
import onnx  # noqa: E402
from onnx import numpy_helper  # noqa: E402
from onnx.backend.test.loader import load_model_tests  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
EXPECTED = HERE / "expected.txt"
SHARE_THAT_PASSES = 0.95  # of the cases in f32, integers and booleans

# Types that the reference kernels promise, and those that they have besides.
CORE = {1, 2, 3, 4, 5, 6, 7, 9, 12, 13}
MORE = {10: "f16", 11: "f64", 16: "bf16"}


class Host:
    """The process that compiles and runs; started again when a case kills it."""

    def __init__(self, program, args):
        self.command = [program, *args]
        self.process = None

    def call(self, request):
        if self.process is None or self.process.poll() is not None:
            self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            self.process.stdin.write(request)
            self.process.stdin.flush()
            return self._reply()
        except (BrokenPipeError, EOFError):
            return 13, f"the host died with status {self.process.wait()}", {}

    def close(self):
        if self.process:
            self.process.stdin.close()
            self.process.wait()

    def _read(self, n):
        data = self.process.stdout.read(n)
        if len(data) != n:
            raise EOFError
        return data

    def _number(self, kind):
        return struct.unpack("<" + kind, self._read(struct.calcsize(kind)))[0]

    def _text(self):
        return self._read(self._number("I")).decode(errors="replace")

    def _reply(self):
        status, text, outputs = self._number("I"), self._text(), {}
        for _ in range(self._number("I")):
            name, elem_type, rank = self._text(), self._number("I"), self._number("I")
            dims = [self._number("q") for _ in range(rank)]
            data = self._read(self._number("Q"))
            outputs[name] = np.frombuffer(data, onnx.helper.tensor_dtype_to_np_dtype(elem_type)).reshape(dims)
        return status, text, outputs


def text(s):
    s = s.encode()
    return struct.pack("<I", len(s)) + s


def request(path, inputs):
    parts = [text(str(path)), struct.pack("<I", len(inputs))]
    for name, a in inputs:
        elem_type = onnx.helper.np_dtype_to_tensor_dtype(a.dtype)
        parts += [text(name), struct.pack("<II", elem_type, a.ndim), struct.pack(f"<{a.ndim}q", *a.shape)]
        data = a.tobytes()
        parts += [struct.pack("<Q", len(data)), data]
    return b"".join(parts)


def known_ops():
    rows = re.findall(r'^OP\((\w+), "(\w*)"', (ROOT / "src/ops/ops.def").read_text(), re.M)
    return {name for name, domain in rows if domain == ""}


def tensor_types(case):
    """ONNX types of all tensors of a case; a str: something that is no tensor."""
    model, types = case.model, set()
    for value in [*model.graph.input, *model.graph.output, *model.graph.value_info]:
        kind = value.type.WhichOneof("value")
        types.add(value.type.tensor_type.elem_type if kind == "tensor_type" else str(kind).replace("_type", ""))
    for node in model.graph.node:
        for a in node.attribute:
            if a.type == onnx.AttributeProto.TENSOR:
                types.add(a.t.data_type)
            if node.op_type == "Cast" and a.name == "to":
                types.add(a.i)
    types.update(t.data_type for t in model.graph.initializer)
    return types


def why_skipped(case, ops):
    """None: the case counts. Otherwise the reason why it does not."""
    for node in case.model.graph.node:
        if node.domain not in ("", "ai.onnx") or node.op_type not in ops:
            return f"operator {node.domain + ':' if node.domain else ''}{node.op_type}"
    for t in sorted(tensor_types(case), key=str):
        if isinstance(t, str):
            return f"type {t}"
        if t not in CORE and t not in MORE:
            return f"type {onnx.TensorProto.DataType.Name(t).lower()}"
    return None


def as_array(value):
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)


def compare(got, want, case):
    if got.dtype != want.dtype or got.shape != want.shape:
        return f"got {got.dtype}{list(got.shape)}, wanted {want.dtype}{list(want.shape)}"
    try:
        np.testing.assert_allclose(got.astype(np.float64), want.astype(np.float64), rtol=case.rtol, atol=case.atol)
    except AssertionError as e:
        return "wrong values:" + " ".join(str(e).split())[:160]
    return None


def run_case(host, case, folder):
    """None: passed. Otherwise what went wrong."""
    path = folder / "model.onnx"
    path.write_bytes(case.model.SerializeToString())
    graph = case.model.graph
    for inputs, outputs in case.data_sets:
        named = [(i.name, as_array(v)) for i, v in zip(graph.input, inputs)]
        status, message, got = host.call(request(path, named))
        if status:
            return " ".join(message.split())
        for o, v in zip(graph.output, outputs):
            wrong = compare(got[o.name], as_array(v), case) if o.name in got else f"no output {o.name}"
            if wrong:
                return f"{o.name}: {wrong}"
    return None


def read_expected():
    """{case: reason} of expected.txt."""
    lines = EXPECTED.read_text().splitlines() if EXPECTED.exists() else []
    return dict(line.split(None, 1) for line in lines if line and not line.startswith("#"))


def write_expected(failures, old):
    head = [line for line in EXPECTED.read_text().splitlines() if line.startswith("#")] if EXPECTED.exists() else []
    body = [f"{name:<56} {old.get(name, reason)}" for name, reason in sorted(failures.items())]
    EXPECTED.write_text("\n".join([*head, *body]) + "\n")


def print_table(per_op):
    print(f"{'operator':<28} passed failed")
    for op, (n_passed, n_failed) in sorted(per_op.items()):
        print(f"{op:<28} {n_passed:6} {n_failed:6}")


def print_skipped(skipped, known):
    """Every skip says why: what is out of scope, in one line a kind, and each known failure with its reason."""
    for kind in ("operator", "type"):
        names = {r.split(" ", 1)[1]: n for r, n in skipped.items() if r.startswith(kind + " ")}
        if names:
            listed = ", ".join(f"{name} {n}" for name, n in sorted(names.items()))
            print(f"SKIPPED [{sum(names.values())}] {kind}s out of scope: {listed}")
    for name, reason in sorted(known.items()):
        print(f"SKIPPED [1] {name}: {reason}")


def build_host(build):
    target = f"{build}/tests/nodes/host"
    subprocess.run(["make", "-s", "-C", ROOT, f"MODE={pathlib.Path(build).name}", target], check=True)
    return str(ROOT / target)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--verbose", action="store_true", help="a table of operators")
    parser.add_argument("--isa", default="amx", help="the highest instruction set level, if the machine has it")
    parser.add_argument("--threads", type=int, default=2, help="of a session")
    parser.add_argument("--disable-pass", action="append", default=[], help="a pass of the compiler to leave out")
    parser.add_argument("--build", default="build/debug", help="the build to test, build/MODE")
    parser.add_argument("--update", action="store_true", help="rewrite expected.txt")
    parser.add_argument("names", nargs="*")
    o = parser.parse_args()

    host = Host(build_host(o.build), [o.isa, str(o.threads), *o.disable_pass])
    folder = ROOT / "build/nodes" / str(os.getpid())
    folder.mkdir(parents=True, exist_ok=True)
    ops, expected = known_ops(), read_expected()
    per_op, skipped = collections.defaultdict(lambda: [0, 0]), collections.Counter()
    failures, surprises, core = {}, [], [0, 0]
    for case in load_model_tests(kind="node"):
        if o.names and not any(n in case.name for n in o.names):
            continue
        reason = why_skipped(case, ops)
        if reason:
            skipped[reason] += 1
            continue
        wrong = run_case(host, case, folder)
        nodes = case.model.graph.node
        per_op[nodes[0].op_type if len(nodes) == 1 else "(expanded)"][wrong is not None] += 1
        if tensor_types(case) <= CORE:
            core[wrong is not None] += 1
        if wrong:
            failures[case.name] = wrong
        if wrong and case.name not in expected:
            surprises.append(f"{case.name}: {wrong}")
        if not wrong and case.name in expected:
            surprises.append(f"{case.name}: passes, but expected.txt says: {expected[case.name]}")
    host.close()
    (folder / "model.onnx").unlink(missing_ok=True)
    folder.rmdir()

    if not o.names:
        gone = expected.keys() - failures.keys() - {s.split(":")[0] for s in surprises}
        surprises += [f"{name}: stands in expected.txt, but is no case that counts" for name in sorted(gone)]
    if o.update and not o.names:
        write_expected(failures, expected)
    if o.verbose:
        print_table(per_op)
    for s in surprises:
        print("FAIL", s)
    share = core[0] / max(sum(core), 1)
    print(f"f32, integers and booleans: {core[0]} of {sum(core)} pass ({100 * share:.1f} %); "
          f"{len(failures)} failures, {len(expected)} expected")
    if share < SHARE_THAT_PASSES and not o.names:
        surprises.append(f"only {100 * share:.1f} % pass")
        print("FAIL", surprises[-1])
    known = {name: expected[name] for name in failures if name in expected}
    print_skipped(skipped, known)
    n_passed = sum(p for p, _ in per_op.values())
    print(f"{n_passed} passed, {len(surprises)} failed, {sum(skipped.values()) + len(known)} skipped")
    return 1 if surprises else 0


if __name__ == "__main__":
    sys.exit(main())
