"""Requests that are wrong, huge or hostile: a clear answer, and the server goes on."""
import json
import pathlib
import resource
import socket
import time

import pytest

INFER = "/v2/models/identity_fp32/infer"


def infer(serve, tensor, **more):
    body = json.dumps({"inputs": [{"name": "INPUT0", "datatype": "FP32", **tensor}], **more}).encode()
    status, _, answer = serve.call(INFER, body)
    return status, json.loads(answer)


@pytest.fixture(autouse=True)
def alive(serve):
    yield
    assert infer(serve, {"shape": [1], "data": [2]})[0] == 200


@pytest.mark.parametrize("tensor,status,text", [
    ({"shape": [9223372036854775807], "data": [1]}, 500, "Shape does not match"),
    ({"shape": [4611686018427387904, 4], "data": [1]}, 500, "Shape does not match"),
    ({"shape": [1] * 9, "data": [1]}, 400, "dimensions"),
    ({"shape": [2], "data": [1]}, 500, "Shape does not match"),
    ({"shape": [1], "data": ["x"]}, 500, "non-number as double"),
    ({"shape": [1], "datatype": "INT32", "data": [1]}, 400, "data-type is 'INT32'"),
    ({"shape": [1], "name": "OTHER", "data": [1]}, 400, "unexpected inference input 'OTHER'"),
    ({"shape": [1], "parameters": {"binary_data_size": 18446744073709551615}}, 400, "binary"),
    ({"shape": [1], "parameters": {"shared_memory_region": "r"}}, 404, "Unable to find shared memory region: 'r'"),
])
def test_bad_tensors(serve, tensor, status, text):
    got, answer = infer(serve, tensor)
    assert got == status and text in answer["error"]


@pytest.mark.parametrize("body,at", [
    ('"shape":[2],"data":[1,1e999]}]}', 68), ('"shape":[1],"data":[-1e309]}]}', 66), ('"shape":[1],"data":[1]}],"x":1e400}', 75),
])
def test_a_number_that_no_fp64_holds(serve, body, at):
    status, _, answer = serve.call(INFER, ('{"inputs":[{"name":"INPUT0","datatype":"FP32",' + body).encode())
    assert status == 500
    assert json.loads(answer) == {
        "error": f"failed to parse the request JSON buffer: Number too big to be stored in double. at {at}"}


def test_a_number_that_no_fp32_holds_is_infinity(serve):
    assert infer(serve, {"shape": [2], "data": [1e39, -1e308]})[1]["outputs"][0]["data"] == [float("inf"), float("-inf")]


@pytest.mark.parametrize("depth", [101, 1_000_000])
def test_deep_json(serve, depth):
    body = b'{"inputs":[{"name":"INPUT0","datatype":"FP32","shape":[1],"data":' + b"[" * depth + b"1" + b"]" * depth + b"}]}"
    status, _, answer = serve.call(INFER, body)
    assert status >= 400 and b"error" in answer


def test_a_body_over_the_limit(serve):
    status, _, _ = serve.call(INFER, b" " * (100 << 20))
    assert status == 413


def raw(serve, data):
    with socket.create_connection(tuple(serve.address().split(":")), timeout=10) as s:
        s.sendall(data)
        return s.recv(65536)


@pytest.mark.parametrize("headers", [
    b"Content-Length: -5\r\n", b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"Content-Length: 5\r\nContent-Length: 6\r\n",
    b"Transfer-Encoding: chunked, gzip\r\n",
])
def test_ambiguous_framing(serve, headers):
    answer = raw(serve, b"POST " + INFER.encode() + b" HTTP/1.1\r\nHost: x\r\n" + headers + b"\r\nhello")
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 501"))


@pytest.mark.parametrize("path,status", [
    ("/v2/models/nope/infer", 404), ("/v2/models/identity_fp32/versions/9/infer", 404),
    ("/v2/models/identity_fp32/versions/99999999999999999999/infer", 400), ("/v2/models/%zz/infer", 404),
])
def test_unknown_models(serve, path, status):
    assert serve.call(path, b"{}")[0] == status


def test_damaged_gzip(serve):
    status, _, answer = serve.call(INFER, b"not gzip", {"Content-Encoding": "gzip"})
    assert status == 400 and b"gzip" in answer


def test_classification_of_what_has_no_classes(serve):
    status, answer = infer(serve, {"shape": [0], "data": []},
                           outputs=[{"name": "OUTPUT0", "parameters": {"classification": 3}}])
    assert status in (200, 400)


def test_more_connections_than_descriptors_cost_nothing(start_serve, repository):
    server = start_serve(f"--model-repository={repository}", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)))
    server.wait()
    clients = [socket.create_connection(tuple(server.address().split(":")), timeout=10) for _ in range(200)]
    used = lambda: sum(map(int, pathlib.Path(f"/proc/{server.process.pid}/stat").read_text().split()[13:15])) / 100
    before = used()
    time.sleep(1)
    assert used() - before < 0.3
    for client in clients[:150]:
        client.close()
    clients[199].sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
    assert clients[199].recv(100).startswith(b"HTTP/1.1 200")
    for client in clients:
        client.close()
