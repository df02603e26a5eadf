"""A running `culmen up` for the tests of this folder, and a small model for it to deploy."""
import os
import pathlib
import signal
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from running_up import ROOT, Up  # noqa: E402

sys.path.insert(0, str(ROOT / "tools/models"))
from onnx_writer import FLOAT, Model  # noqa: E402


@pytest.fixture
def make_up(tmp_path):
    made = []

    def make():
        up = Up(tmp_path / f"data{len(made)}")
        made.append(up)
        return up.start()

    yield make
    for up in made:
        for pid in up.replicas():  # a stopped one would not end
            os.kill(pid, signal.SIGCONT)
        if (up.folder / "lock").exists():  # else the test has taken the folder away
            done = up.down()
            assert done.returncode == 0, done.stderr


@pytest.fixture
def up(make_up):
    return make_up()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Folders with a model.onnx that multiplies by a number: tiny(2)."""
    folder = tmp_path_factory.mktemp("tiny")

    def make(factor):
        path = folder / str(factor)
        if not path.exists():
            m = Model("tiny", opset=14)
            m.input("x", FLOAT, ["batch", 2])
            m.output("y", FLOAT, ["batch", 2])
            m.node("Mul", ["x", m.floats("factor", [2], [float(factor)] * 2)], "y")
            path.mkdir()
            (path / "model.onnx").write_bytes(m.bytes())
        return path

    return make
