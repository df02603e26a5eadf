"""`culmen bench` against a server: what it measures, and what it says of a wrong command line."""
import json
import subprocess

import numpy as np
import pytest
from program import CULMEN


@pytest.fixture
def bench(serve):
    def run(model, *args):
        url = f"http://{serve.address()}/v2/models/{model}"
        return subprocess.run([CULMEN, "bench", url, "--duration=0.2", *args], capture_output=True, text=True)

    return run


def test_json_has_the_names_that_scripts_read(bench):
    done = bench("add_sub", "--json", "--threads=2")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["runs"] > 0 and figures["throughput"] > 0 and figures["threads"] == 2
    latencies = [figures["latency_ms"][k] for k in ("min", "median", "p90", "p95", "p99")]
    assert latencies == sorted(latencies) and figures["latency_ms"]["mean"] > 0


def test_names_that_the_model_lacks_are_refused(bench, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((1, 16), np.int32))
    for args, words in [([f"--input=NOPE={tmp_path}/x.npy"], "no input \"NOPE\""),
                        ([f"--input=INPUT0={tmp_path}/x.npy"], "\"INPUT1\" is missing"),
                        ([f"--input=INPUT0={tmp_path}/x.npy"] * 2, "given twice"),
                        (["--shape=NOPE:1x16"], "no input \"NOPE\""),
                        (["--shape=INPUT0:16"], "1 dims, the model's input has 2")]:
        done = bench("add_sub", *args)
        assert done.returncode == 1 and words in done.stderr, (args, done.stderr)


def test_options_that_a_server_cannot_heed_are_refused(bench):
    for option in ("--profile", "--precision=bf16", "--isa=avx2"):
        done = bench("add_sub", option)
        assert done.returncode == 2 and option.split("=")[0] in done.stderr
    assert bench("nothing").returncode == 1
