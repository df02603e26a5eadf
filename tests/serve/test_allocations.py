"""A server in its steady state takes nothing from the heap for a request."""
import http.client
import os
import pathlib
import signal
import subprocess
import time

import pytest

HERE = pathlib.Path(__file__).parent
N_REQUESTS = 4000
PER_REQUEST_MAX = 0.01  # a pool may still grow now and then


@pytest.fixture
def counted(start_serve, repository, tmp_path):
    """A server, and the function that asks how many allocations it has made."""
    library, counts = tmp_path / "count_malloc.so", tmp_path / "counts"
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", library, HERE / "count_malloc.c"], check=True)
    server = start_serve(f"--model-repository={repository}", env={"LD_PRELOAD": str(library), "COUNT_MALLOC": str(counts)}).wait()

    def count():
        seen = len(counts.read_text().splitlines()) if counts.exists() else 0
        os.kill(server.process.pid, signal.SIGUSR2)
        end = time.time() + 10
        while time.time() < end:
            lines = counts.read_text().splitlines(keepends=True) if counts.exists() else []
            if len(lines) > seen and lines[-1].endswith("\n"):
                return int(lines[-1])
            time.sleep(0.01)
        pytest.fail("the server does not tell its count")

    return server, count


def ask(server, body, headers):
    connection = http.client.HTTPConnection("127.0.0.1", int(server.ports["http"]))
    for _ in range(N_REQUESTS):
        connection.request("POST", "/v2/models/identity_fp32/infer", body, headers)
        answer = connection.getresponse()
        assert answer.status == 200
        answer.read()
    connection.close()


JSON = b'{"inputs":[{"name":"INPUT0","datatype":"FP32","shape":[4],"data":[1.5,2,3,4]}]}'
HEAD = b'{"inputs":[{"name":"INPUT0","datatype":"FP32","shape":[4],"parameters":{"binary_data_size":16}}]}'


@pytest.mark.parametrize("body,headers", [(JSON, {}), (HEAD + bytes(16), {"Inference-Header-Content-Length": str(len(HEAD))})],
                         ids=["json", "binary"])
def test_a_request_allocates_nothing(counted, body, headers):
    server, count = counted
    ask(server, body, headers)
    before = count()
    assert before > 0  # it does count
    ask(server, body, headers)
    assert (count() - before) / N_REQUESTS < PER_REQUEST_MAX
