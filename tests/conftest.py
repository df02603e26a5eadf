"""What the tests with real models and real clients share: the program, the models, a culmen command."""
import os
import pathlib
import subprocess
import sys

import pytest
from program import CULMEN, ROOT

MODELS = pathlib.Path(os.environ.get("CULMEN_MODELS", ROOT / "build/models"))

sys.path.insert(0, str(ROOT / "tools/models"))
sys.path.insert(0, str(ROOT / "examples"))


def pytest_configure(config):
    if not CULMEN.exists():
        raise pytest.UsageError(f"{CULMEN} is not there; run: make MODE=release")


@pytest.fixture(scope="session")
def culmen():
    """Runs `culmen ARGS...`; fails the test with the program's own words when it fails."""

    def run(*args, check=True, **options):
        done = subprocess.run([str(CULMEN), *map(str, args)], capture_output=True, text=True, errors="replace", **options)
        if check and done.returncode:
            pytest.fail(f'culmen {" ".join(map(str, args))}: exit {done.returncode}: {done.stderr.strip()}')
        return done

    return run


@pytest.fixture(scope="session")
def model():
    """The path of a real model's file; tools/fetch-models brings them."""

    def find(name):
        path = MODELS / name
        if not path.exists():
            pytest.fail(f"{path} is not there; run: tools/fetch-models {MODELS}")
        return path

    return find
