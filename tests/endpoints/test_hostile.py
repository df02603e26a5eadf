"""Requests to the gateway that are wrong, huge or hostile: a clear answer, and everything goes on."""
import json
import socket

import pytest
from running_up import PARENT, Up

DEPTH = 1_000_000
BIG = 100 << 20


@pytest.fixture(scope="module")
def deployed(tmp_path_factory, tiny):
    """(up, endpoint) for the tests of this file."""
    up = Up(tmp_path_factory.mktemp("up") / "data").start()
    endpoint = up.create_endpoint()
    up.deploy(endpoint, up.upload(tiny(2)), n=1)
    pids = up.replicas().keys() | {up.process.pid, up.child("gateway"), up.child("control")}
    yield up, endpoint
    assert pids == up.replicas().keys() | {up.process.pid, up.child("gateway"), up.child("control")}, "a process died"
    done = up.down()
    assert done.returncode == 0, done.stderr


@pytest.fixture(autouse=True)
def alive(deployed):
    yield
    up, endpoint = deployed
    assert up.ok("POST", f"/v1/{endpoint}:predict", {"instances": [[1, 2]]})["predictions"] == [[2, 4]]
    up.ok("GET", f"/v1/{PARENT}/models")


def targets(endpoint):
    return [f"/v1/{endpoint}:predict", f"/v1/{endpoint}:rawPredict", f"/v1/{PARENT}/models:upload"]


@pytest.mark.parametrize("which", range(3))
@pytest.mark.parametrize("key", ["instances", "model"])
def test_deep_json(deployed, which, key):
    up, endpoint = deployed
    body = b'{"' + key.encode() + b'":' + b"[" * DEPTH + b"1" + b"]" * DEPTH + b"}"
    status, answer = up.call("POST", targets(endpoint)[which], body, {"Content-Type": "application/json"})
    assert status == 400 and answer["error"]


@pytest.mark.parametrize("which", range(3))
def test_a_body_of_100_mb(deployed, which):
    up, endpoint = deployed
    try:
        status, _ = up.call("POST", targets(endpoint)[which], b" " * BIG)
    except (BrokenPipeError, ConnectionResetError):
        return  # refused while it was being sent: as good an answer as TCP leaves room for
    assert status in (400, 413)


def raw(up, data):
    with socket.create_connection(("127.0.0.1", up.port), timeout=10) as s:
        s.sendall(data)
        return s.recv(65536)


@pytest.mark.parametrize("which", range(3))
@pytest.mark.parametrize("headers", [
    "Content-Length: -5", "Content-Length: 5\r\nTransfer-Encoding: chunked", "Content-Length: 5\r\nContent-Length: 6",
    "Transfer-Encoding: chunked, gzip", "Content-Length: 99999999999999999999", "Content-Length : 5", "Content-Length: 5\0",
])
def test_ambiguous_framing(deployed, which, headers):
    up, endpoint = deployed
    head = f"POST {targets(endpoint)[which]} HTTP/1.1\r\nHost: x\r\n{headers}\r\n\r\nhello"
    assert raw(up, head.encode()).startswith((b"HTTP/1.1 400", b"HTTP/1.1 413", b"HTTP/1.1 501"))


@pytest.mark.parametrize("head", [
    b"GET /" + b"a" * (1 << 20) + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 20000 + b"\r\n", b"GET / HTTP/9.9\r\nHost: x\r\n\r\n", b"\0" * 1000 + b"\r\n\r\n",
])
def test_heads_beyond_every_limit(deployed, head):
    up, _ = deployed
    try:
        answer = raw(up, head)
    except (BrokenPipeError, ConnectionResetError):
        return
    assert answer[:10] in (b"HTTP/1.1 4", b"HTTP/1.1 5")


@pytest.mark.parametrize("path", [
    "/v1/projects/p1/locations/us-central1/endpoints/nope:predict", "/v1/projects/p1/locations/us-central1/models/0",
    "/v1/%00", "/v1/../../etc/passwd", "/v1/projects/p1/locations/us-central1/models:frobnicate", "/v9/x",
])
def test_what_is_not_there(deployed, path):
    up, _ = deployed
    status, answer = up.call("POST", path, {"instances": [[1, 2]]})
    assert status in (400, 404, 405, 501)
    if isinstance(answer, dict):
        assert answer["error"]["code"] == status


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"instances": {}}', b'{"instances": [[1, "x"]]}', b"\xff\xfe"])
def test_wrong_bodies(deployed, body):
    up, endpoint = deployed
    status, answer = up.call("POST", f"/v1/{endpoint}:predict", body, {"Content-Type": "application/json"})
    assert status == 400 and answer["error"]["status"] == "INVALID_ARGUMENT"
    status, answer = up.call("POST", f"/v1/{PARENT}/models:upload", body, {"Content-Type": "application/json"})
    assert status == 400 and answer["error"]["status"] == "INVALID_ARGUMENT"


def test_the_name_of_an_unknown_field_is_in_the_answer(deployed):
    up, _ = deployed
    status, answer = up.call("POST", f"/v1/{PARENT}/models:upload", {"model": {"displayNam": "x"}})
    assert status == 400 and "displayNam" in json.dumps(answer)
