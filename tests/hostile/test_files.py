"""Damaged and hostile files: an error that says where, or a valid run; never a crash, never a hang."""
import json
import os
import pathlib
import random
import resource
import struct
import subprocess
import time

import numpy as np
import pytest

from program import CULMEN
from onnx_writer import FLOAT, INT64, STRING, Model, _bytes, _number

CASES = 500
CRASH = (-11, -6, -4, -8, -7)  # SEGV, ABRT, ILL, FPE, BUS


def small_model():
    rng = np.random.default_rng(0)
    m = Model("small", opset=17)

    def weight(name, *dims):
        return m.raw(name, FLOAT, list(dims), rng.standard_normal(dims).astype("<f4").tobytes())

    x = m.input("x", FLOAT, ["batch", 3, 8, 8])
    y = m.node("Relu", [m.node("Conv", [x, weight("w", 4, 3, 3, 3), weight("b", 4)], pads=[1, 1, 1, 1])])
    y = m.node("Reshape", [y, m.ints("shape", [0, -1])])
    y = m.node("Add", [m.node("MatMul", [y, weight("u", 256, 10)]), weight("c", 10)])
    m.node("Softmax", [y], "y", axis=-1)
    m.output("y", FLOAT, ["batch", 10])
    return m.bytes()


def damaged(data, kind):
    rng = random.Random(kind)
    for _ in range(CASES):
        if kind == "flipped":
            copy = bytearray(data)
            copy[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            yield bytes(copy)
        else:
            yield data[:rng.randrange(len(data))]


def check_all(culmen, tmp_path, data, kind, suffix, *command):
    path = tmp_path / f"damaged.{suffix}"
    outcomes = {0: 0, 1: 0}
    for i, bad in enumerate(damaged(data, kind)):
        path.write_bytes(bad)
        done = culmen(*command, path, check=False, timeout=20)
        assert done.returncode not in CRASH, f"case {i}: {done.stderr[-2000:]}"
        assert done.returncode in (0, 1), f"case {i}: exit {done.returncode}: {done.stderr}"
        assert done.returncode == 0 or done.stderr.strip(), f"case {i} says nothing"
        outcomes[done.returncode] += 1
    assert outcomes[1] > 0


@pytest.mark.parametrize("kind", ["flipped", "truncated"])
def test_damaged_onnx(culmen, tmp_path, kind):
    check_all(culmen, tmp_path, small_model(), kind, "onnx", "run", f"--input=x={inputs(tmp_path)}")


@pytest.mark.parametrize("kind", ["flipped", "truncated"])
def test_damaged_plan(culmen, tmp_path, kind):
    (tmp_path / "m.onnx").write_bytes(small_model())
    culmen("compile", tmp_path / "m.onnx", "-o", tmp_path / "m.plan")
    check_all(culmen, tmp_path, (tmp_path / "m.plan").read_bytes(), kind, "plan", "run", f"--input=x={inputs(tmp_path)}")


def inputs(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((2, 3, 8, 8), np.float32))
    return tmp_path / "x.npy"


@pytest.fixture
def plan(culmen, tmp_path):
    (tmp_path / "m.onnx").write_bytes(small_model())
    culmen("compile", tmp_path / "m.onnx", "-o", tmp_path / "m.plan")
    return tmp_path / "m.plan"


def refused(done, *words):
    assert done.returncode in (1, 2), done.stderr
    for word in words:
        assert word in done.stderr, f"{word!r} is not in {done.stderr!r}"


def test_a_damaged_weight_is_found_by_verify(culmen, plan):
    data = bytearray(plan.read_bytes())
    data[-100] ^= 0xFF
    plan.write_bytes(data)
    assert culmen("inspect", plan, check=False).returncode == 0
    refused(culmen("inspect", "--verify", plan, check=False), "WEIGHTS")


def test_wrong_inputs_are_named(culmen, plan, tmp_path):
    np.save(tmp_path / "rank.npy", np.ones((3, 8, 8), np.float32))
    np.save(tmp_path / "shape.npy", np.ones((1, 3, 8, 9), np.float32))
    np.save(tmp_path / "dtype.npy", np.ones((1, 3, 8, 8), np.int64))
    refused(culmen("run", plan, f"--input=x={tmp_path}/rank.npy", check=False), "x", "4", "3")
    refused(culmen("run", plan, f"--input=x={tmp_path}/shape.npy", check=False), "x", "8", "9")
    refused(culmen("run", plan, f"--input=x={tmp_path}/dtype.npy", check=False), "x", "f32", "i64")
    refused(culmen("run", plan, f"--input=z={tmp_path}/shape.npy", check=False), "z")
    refused(culmen("run", tmp_path / "nothing.plan", check=False), "nothing.plan")


def external_model(location):
    """A model whose weight lives in another file."""
    weight = _number(1, 4) + _number(2, FLOAT) + _bytes(8, "w") + _number(14, 1)
    weight += _bytes(13, _bytes(1, "location") + _bytes(2, location))
    m = Model("external", opset=17)
    m.input("x", FLOAT, [4])
    m._graph.append(_bytes(5, weight))
    m.node("Add", ["x", "w"], "y")
    m.output("y", FLOAT, [4])
    return m.bytes()


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/passwd", "a/../../secret.bin", "link/secret.bin"])
def test_external_data_stays_in_the_folder_of_the_model(culmen, tmp_path, location):
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(struct.pack("<4f", 1, 2, 3, 4))
    (folder / "link").symlink_to(tmp_path)
    (folder / "m.onnx").write_bytes(external_model(location))
    refused(culmen("compile", folder / "m.onnx", "-o", tmp_path / "m.plan", check=False), location.split("/")[-1])


def test_external_data_beside_the_model_is_read(culmen, tmp_path):
    (tmp_path / "w.bin").write_bytes(struct.pack("<4f", 1, 2, 3, 4))
    (tmp_path / "m.onnx").write_bytes(external_model("w.bin"))
    np.save(tmp_path / "x.npy", np.ones(4, np.float32))
    culmen("run", tmp_path / "m.onnx", f"--input=x={tmp_path}/x.npy", f"--output-dir={tmp_path}/out")
    assert np.load(tmp_path / "out/y.npy").tolist() == [2, 3, 4, 5]


def test_every_unsupported_node_is_listed(culmen, tmp_path):
    m = Model("strange", opset=17)
    m.input("x", FLOAT, ["n", 4])
    m.node("Frobnicate", [m.node("Relu", [m.node("Twiddle", ["x"])])], "y")
    m.output("y", FLOAT, ["n", 4])
    (tmp_path / "m.onnx").write_bytes(m.bytes())
    refused(culmen("compile", tmp_path / "m.onnx", "-o", tmp_path / "m.plan", check=False), "Frobnicate", "Twiddle", "17")


def test_no_space_for_the_plan(culmen, tmp_path):
    (tmp_path / "m.onnx").write_bytes(small_model())
    refused(culmen("compile", tmp_path / "m.onnx", "-o", "/dev/full/m.plan", check=False), "/dev/full")


def test_names_with_colons_and_slashes(culmen, tmp_path):
    m = Model("names", opset=17)
    m.input("a/b:0", FLOAT, ["n"])
    m.node("Relu", ["a/b:0"], "c/d:0")
    m.output("c/d:0", FLOAT, ["n"])
    (tmp_path / "m.onnx").write_bytes(m.bytes())
    np.save(tmp_path / "x.npy", np.array([-1, 2], np.float32))
    culmen("compile", tmp_path / "m.onnx", "-o", tmp_path / "m.plan", "--shape=a/b:0:2")
    culmen("run", tmp_path / "m.plan", f"--input=a/b:0={tmp_path}/x.npy", f"--output-dir={tmp_path}/out")
    assert np.load(tmp_path / "out/c_d_0.npy").tolist() == [0, 2]


def test_empty_tensors_run(culmen, tmp_path, plan):
    np.save(tmp_path / "x.npy", np.zeros((0, 3, 8, 8), np.float32))
    done = culmen("run", plan, f"--input=x={tmp_path}/x.npy", check=False)
    assert done.returncode in (0, 1) and done.returncode not in CRASH


def test_shape_arithmetic_on_int64(culmen, tmp_path):
    m = Model("shapes", opset=17)
    m.input("x", INT64, ["n", "m"])
    m.node("Mul", ["x", m.ints("two", [2])], "y")
    m.output("y", INT64, ["n", "m"])
    (tmp_path / "m.onnx").write_bytes(m.bytes())
    np.save(tmp_path / "x.npy", np.arange(6).reshape(2, 3))
    culmen("run", tmp_path / "m.onnx", f"--input=x={tmp_path}/x.npy", f"--output-dir={tmp_path}/out")
    assert np.load(tmp_path / "out/y.npy").tolist() == [[0, 2, 4], [6, 8, 10]]


def relu(tmp_path, outputs, kind=FLOAT):
    m = Model("relus", opset=17)
    m.input("x", kind, ["n"])
    for name in outputs:
        m.node("Relu" if kind == FLOAT else "Identity", ["x"], name)
        m.output(name, kind, ["n"])
    (tmp_path / "m.onnx").write_bytes(m.bytes())
    return tmp_path / "m.onnx"


def test_outputs_whose_files_would_be_the_same_are_told_apart(culmen, tmp_path):
    np.save(tmp_path / "x.npy", np.ones(2, np.float32))
    done = culmen("run", relu(tmp_path, ["y:0", "y_0", "y/0"]), f"--input=x={tmp_path}/x.npy", f"--output-dir={tmp_path}/out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["y_0.2.npy", "y_0.3.npy", "y_0.npy"]
    assert '"y_0" is in y_0.2.npy' in done.stderr and '"y/0" is in y_0.3.npy' in done.stderr


def test_names_cannot_steer_the_terminal(culmen, tmp_path):
    path = relu(tmp_path, ["\x1b]0;gotcha\x07"])
    for done in (culmen("run", path), culmen("inspect", path), culmen("run", path, "--input=\x1b[2Jx=no.npy", check=False)):
        assert "\x1b" not in done.stdout + done.stderr
    assert "\\u001b" in culmen("inspect", path, "--json").stdout


def test_an_input_given_twice_is_refused(culmen, tmp_path):
    np.save(tmp_path / "x.npy", np.ones(2, np.float32))
    word = f"--input=x={tmp_path}/x.npy"
    refused(culmen("run", relu(tmp_path, ["y"]), word, word, check=False), "x", "twice")


def test_the_model_is_not_overwritten(culmen, tmp_path):
    path = relu(tmp_path, ["y"])
    (tmp_path / "link.plan").symlink_to(path)
    before = path.read_bytes()
    for output in (path, tmp_path / "link.plan", tmp_path / "other.onnx"):
        refused(culmen("compile", path, "-o", output, check=False), output.name)
    assert path.read_bytes() == before


def test_devices_are_written_to_and_stay(culmen, tmp_path):
    path = relu(tmp_path, ["y"])
    refused(culmen("compile", path, "-o", "/dev/full", check=False), "No space left")
    culmen("compile", path, "-o", "/dev/null")
    assert pathlib.Path("/dev/full").is_char_device() and pathlib.Path("/dev/null").is_char_device()
    assert culmen("compile", path, "-o", tmp_path / "m.plan", "--report=/dev/stdout").stdout.startswith("{")


def test_a_killed_compilation_leaves_nothing(culmen, tmp_path):
    """Whenever it is ended, there is a whole plan or none, and no temporary file."""
    m = Model("wide", opset=17)
    m.input("x", FLOAT, ["n", 2048])
    m.node("MatMul", ["x", m.raw("w", FLOAT, [2048, 2048], bytes(16 << 20))], "y")
    m.output("y", FLOAT, ["n", 2048])
    (tmp_path / "m.onnx").write_bytes(m.bytes())
    out = tmp_path / "out"
    out.mkdir()
    for i in range(20):
        try:
            culmen("compile", tmp_path / "m.onnx", "-o", out / "m.plan", timeout=0.005 * (i + 1))
        except subprocess.TimeoutExpired:  # it was killed
            pass
        assert {p.name for p in out.iterdir()} <= {"m.plan"}
        if (out / "m.plan").exists():
            culmen("inspect", "--verify", out / "m.plan")
            (out / "m.plan").unlink()


def test_texts_are_shown(culmen, tmp_path):
    np.save(tmp_path / "x.npy", np.array(["a", "b\u00e9", "c\x1b"]))
    done = culmen("run", relu(tmp_path, ["y"], STRING), f"--input=x={tmp_path}/x.npy")
    assert '"a" "b\u00e9" "c?"' in done.stdout
    refused(culmen("run", tmp_path / "m.onnx", check=False), "--input=x=FILE.npy")


def test_integers_are_shown_exactly(culmen, tmp_path):
    np.save(tmp_path / "x.npy", np.array([1234567890123, -5]))
    done = culmen("run", relu(tmp_path, ["y"], INT64), f"--input=x={tmp_path}/x.npy")
    assert "min -5  max 1234567890123  mean 6.17284e+11  first 1234567890123 -5" in done.stdout


def test_nan_is_counted(culmen, tmp_path):
    np.save(tmp_path / "x.npy", np.array([1, np.nan, 3, np.inf], np.float32))
    done = culmen("run", relu(tmp_path, ["y"]), f"--input=x={tmp_path}/x.npy")
    assert "1 of 4 are NaN" in done.stdout and "max inf" in done.stdout


@pytest.mark.parametrize("size", [0, 4096])
def test_a_plan_that_is_cut_while_it_runs_is_an_error(plan, size):
    bench = subprocess.Popen([CULMEN, "bench", plan, "--duration=20", "--threads=2"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(0.5)
    os.truncate(plan, size)
    try:
        out, err = bench.communicate(timeout=15)
    except subprocess.TimeoutExpired:
        bench.kill()
        raise
    assert bench.returncode == 1 and "cut" in err and "mv" in err, err


def test_dims_without_a_name_are_each_a_size_of_their_own(culmen, tmp_path):
    m = Model("two", opset=17)
    m.input("x", FLOAT, ["", 4])
    m.input("y", FLOAT, ["", 4])
    m.node("Add", ["x", "y"], "z")
    m.output("z", FLOAT, ["", 4])
    (tmp_path / "m.onnx").write_bytes(m.bytes())
    culmen("compile", tmp_path / "m.onnx", "-o", tmp_path / "m.plan")

    def add(x_rows, y_rows, **options):
        np.save(tmp_path / "x.npy", np.ones((x_rows, 4), np.float32))
        np.save(tmp_path / "y.npy", np.ones((y_rows, 4), np.float32))
        inputs = [f"--input={n}={tmp_path}/{n}.npy" for n in "xy"]
        return culmen("run", tmp_path / "m.plan", *inputs, f"--output-dir={tmp_path}/out", **options)

    for x_rows, y_rows in [(2, 2), (2, 1), (1, 3)]:
        add(x_rows, y_rows)
        assert np.load(tmp_path / "out/z.npy").shape == (max(x_rows, y_rows), 4)
    refused(add(2, 3, check=False), "Add_1", "2 and 3 do not broadcast")
    culmen("compile", tmp_path / "m.onnx", "-o", tmp_path / "m.plan", "--shape=x:2x4", "--shape=y:?x4")
    inputs = json.loads(culmen("inspect", tmp_path / "m.plan", "--json").stdout)["inputs"]
    assert [i["dims"] for i in inputs] == [[2, 4], ["y.dim_0", 4]]
    wrong = culmen("compile", tmp_path / "m.onnx", "-o", tmp_path / "m.plan", "--shape=x:2x4", "--shape=y:3x4", check=False)
    refused(wrong, "Add_1", "2 and 3")


def test_a_rank_that_depends_on_data_is_refused_with_the_node(culmen, tmp_path):
    m = Model("squeeze", opset=17)
    m.input("x", FLOAT, [4])
    m.input("dims", INT64, [2])
    m.node("Neg", [m.node("Squeeze", [m.node("Reshape", ["x", "dims"])])], "y")
    m.output("y", FLOAT, ["n"])
    (tmp_path / "m.onnx").write_bytes(m.bytes())
    done = culmen("compile", tmp_path / "m.onnx", "-o", tmp_path / "m.plan", check=False)
    refused(done, "Squeeze_2", "not known before the model runs")


HOSTILE_NAME = b"\x1b[3\xff\n\x07\xe2\x82"


@pytest.mark.parametrize("is_supported", [True, False])
def test_names_that_are_no_text_reach_no_terminal_and_no_json(culmen, tmp_path, is_supported):
    """An escape sequence, half a character, a line end in every name: what is said stays UTF-8, one line a line."""
    name = "N" * len(HOSTILE_NAME)
    m = Model(name, opset=17)
    x = m.input("a" + name, FLOAT, ["b" + name, 4])
    w = m.floats("w" + name, [4], [1, 2, 3, 4])
    m.node("Add" if is_supported else "Z" + name, [x, w], "y" + name)
    m.output("y" + name, FLOAT, ["b" + name, 4])
    (tmp_path / "m.onnx").write_bytes(m.bytes().replace(name.encode(), HOSTILE_NAME))
    model, plan, report = tmp_path / "m.onnx", tmp_path / "m.plan", tmp_path / "r.json"
    commands = [("compile", model, "-o", plan, f"--report={report}"), ("inspect", model), ("inspect", model, "--json"),
                ("compile", model, "-o", plan, "--print-after=import"), ("compile", model, "-o", plan, "--shape=z:1"),
                ("run", model), ("inspect", plan), ("inspect", plan, "--json"), ("bench", plan, "--duration=0.01")]
    for command in commands:
        done = subprocess.run([str(CULMEN), *map(str, command)], capture_output=True)
        assert done.returncode in (0, 1, 2), (command, done)
        for text in (done.stdout, done.stderr):
            shown = text.decode("utf-8", "strict")
            assert not [c for c in shown if ord(c) < 32 and c != "\n" or ord(c) == 127], (command, shown)
        if "--json" in command and done.returncode == 0:
            json.loads(done.stdout)
    assert plan.exists() == is_supported
    if is_supported:
        json.loads(report.read_bytes().decode("utf-8", "strict"))


def test_folding_does_not_fill_the_machine(culmen, tmp_path):
    """A few nodes of a few bytes that double a constant, plainly and through copies of it."""
    m = Model("double", opset=17)
    plain = copied = m.raw("one", FLOAT, [1024], bytes(4096))
    for _ in range(40):
        plain = m.node("Concat", [plain, plain], axis=0)
        copied = m.node("Concat", [copied, m.node("Neg", [copied])], axis=0)
    m.node("Identity", [plain], "y")
    m.node("Identity", [copied], "z")
    m.output("y", FLOAT, ["n"])
    m.output("z", FLOAT, ["m"])
    (tmp_path / "m.onnx").write_bytes(m.bytes())
    limit = lambda: resource.setrlimit(resource.RLIMIT_DATA, (3 << 30, 3 << 30))
    culmen("compile", tmp_path / "m.onnx", "-o", tmp_path / "m.plan", preexec_fn=limit, timeout=120)
    assert (tmp_path / "m.plan").stat().st_size < 2 << 30
    refused(culmen("run", tmp_path / "m.plan", check=False), "than there are addresses")
