"""Vertex AI's container contract: AIP_* in the environment, instances in, predictions out."""
import base64
import gzip
import json
import shutil
import struct

import pytest
import twins
from onnx_writer import FLOAT, INT32, STRING

ROUTES = {"AIP_HTTP_PORT": "0", "AIP_HEALTH_ROUTE": "/healthy", "AIP_PREDICT_ROUTE": "/predict"}


@pytest.fixture
def container(start_serve, tmp_path):
    """Starts a server on one model's folder, as a container of a managed endpoint would."""

    def start(onnx, config=None, uri="{}", **env):
        folder = tmp_path / "artifact"
        folder.mkdir()
        (folder / "model.onnx").write_bytes(onnx)
        if config:
            (folder / "config.pbtxt").write_text(config)
        return start_serve(env={**ROUTES, "AIP_STORAGE_URI": uri.format(folder), **env}).wait()

    return start


def predict(server, body, headers=None):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    status, _, answer = server.call("/predict", data, {"Content-Type": "application/json", **(headers or {})},
                                    service="vertex")
    return status, json.loads(answer) if answer else None


ONE = twins.identity([("x", "y", FLOAT, ["batch", 3])])
TWO = twins.identity([("a", "p", FLOAT, ["batch", 2]), ("b", "q", INT32, ["batch", 1])])


def test_health_route_and_path_as_file_uri(container):
    server = container(ONE, uri="file://{}")
    assert server.call("/healthy", service="vertex")[0] == 200
    assert server.call("/healthy", b"", service="vertex")[0] == 405
    assert server.call("/other", service="vertex")[0] == 400
    assert "http" not in server.ports  # only the contract's port and the metrics'


def test_one_input_takes_stacked_values(container):
    server = container(ONE)
    assert predict(server, {"instances": [[1, 2, 3], [4, 5, 6]]}) == (200, {"predictions": [[1, 2, 3], [4, 5, 6]]})
    assert predict(server, {"parameters": {"a": 1}, "instances": [[1, 2, 3]]}) == (200, {"predictions": [[1, 2, 3]]})


def test_many_instances_are_one_request(container):
    instances = [[i, 1, 2] for i in range(100)]
    assert predict(container(ONE), {"instances": instances}) == (200, {"predictions": instances})


@pytest.mark.parametrize("n", [129, 1000])
def test_more_instances_than_a_batch_takes_are_run_in_several(container, n):
    server = container(TWO)
    instances = [{"a": [i, 1], "b": [-i]} for i in range(n)]
    status, answer = predict(server, {"instances": instances})
    assert status == 200 and answer["predictions"] == [{"p": i["a"], "q": i["b"]} for i in instances]


def test_a_model_with_a_fixed_first_dimension_takes_instances_one_by_one(container):
    server = container(twins.identity([("x", "y", FLOAT, [1, 3])]))
    for n in (1, 2, 5):
        instances = [[i, 1, 2] for i in range(n)]
        assert predict(server, {"instances": instances}) == (200, {"predictions": instances})


def test_texts_come_stacked_by_name_or_as_base64(container):
    server = container(twins.identity([("x", "y", STRING, ["batch", 2])]))
    wanted = (200, {"predictions": [["a", "b"], ["c", "\u00e9"]]})
    assert predict(server, {"instances": [["a", "b"], ["c", "\u00e9"]]}) == wanted
    assert predict(server, {"instances": [{"x": ["a", "b"]}, {"x": ["c", "\u00e9"]}]}) == wanted
    raw = {"b64": base64.b64encode(b"\x00\xff").decode()}
    assert predict(server, {"instances": [[raw, "b"]]}) == (200, {"predictions": [[raw, "b"]]})
    assert predict(server, {"instances": [{"x": [raw, "b"]}]}) == (200, {"predictions": [[raw, "b"]]})


def test_a_packed_body_may_hold_instances(container):
    server = container(ONE)
    body = gzip.compress(json.dumps({"instances": [[1, 2, 3]]}).encode())
    assert predict(server, body, {"Content-Encoding": "gzip"}) == (200, {"predictions": [[1, 2, 3]]})
    assert predict(server, body[:-9], {"Content-Encoding": "gzip"})[0] == 400


def test_several_inputs_take_objects_by_name(container):
    server = container(TWO)
    instances = [{"a": [1, 2], "b": [3]}, {"b": 5, "a": [4, 6]}]
    status, answer = predict(server, {"instances": [instances[0], {"b": [5], "a": [4, 6]}]})
    assert status == 200
    assert answer["predictions"] == [{"p": [1, 2], "q": [3]}, {"p": [4, 6], "q": [5]}]
    status, answer = predict(server, {"instances": instances})
    assert status == 400 and "ragged" in answer["error"]


@pytest.mark.parametrize("body,text", [
    ({"instances": [[1, 2, 3], [4, 5]]}, "ragged"),
    ({"instances": []}, "at least one"),
    ({"instances": 5}, "must be a list"),
    ({"instances": [["a", "b", "c"]]}, "input 'x'"),
    ({"instances": [[1, 2]]}, "unexpected shape for input 'x'"),
    ({"instances": [{"z": 1}]}, '"z", which is no input'),
    ({"instance": [[1, 2, 3]]}, 'neither "instances"'),
    (b'{"instances": [[1e999, 2, 3]]}', "input 'x': JSON line 1, column 17 (byte 16): 1e999 is larger than any FP64"),
    ([], "no JSON object"),
    (b'{"instances": [[1, 2, 3]], "instances": [[1, 2, 3]]}', "twice"),
])
def test_bad_instances_are_invalid_arguments(container, body, text):
    status, answer = predict(container(ONE), body)
    assert status == 400 and text in answer["error"]


def test_inputs_are_v2_on_the_same_route(container):
    server = container(ONE)
    request = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}]}
    assert predict(server, request)[1]["outputs"][0]["data"] == [1, 2, 3]
    header = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 3],
                                     "parameters": {"binary_data_size": 12}}]}).encode()
    mime = f"application/vnd.vertex-ai-triton.binary+json;json-header-size={len(header)}"
    assert predict(server, header + struct.pack("<3f", 1, 2, 3), {"Content-Type": mime})[1]["outputs"][0]["data"] == [1, 2, 3]


def test_redirect_header_leads_to_v2(container):
    server = container(ONE)
    redirect = "X-Vertex-Ai-Triton-Redirect"
    assert predict(server, {}, {redirect: "v2"})[1]["name"] == "triton"
    assert predict(server, {}, {redirect: "v2/models/model"})[1]["inputs"][0]["name"] == "x"
    assert predict(server, {}, {redirect: "v2/logging"})[0] == 400
    assert predict(server, {}, {redirect: "v2/models/nope"})[0] == 404
    status, _, body = server.call("/predict", b"", {redirect: "metrics"}, service="vertex")
    assert status == 200 and b"nv_inference_count" in body


def test_storage_uri_may_be_a_repository(start_serve, tmp_path):
    twins.put(tmp_path / "models", "only", 1, ONE)
    server = start_serve(env={**ROUTES, "AIP_STORAGE_URI": str(tmp_path / "models")}).wait()
    assert predict(server, {"instances": [[1, 2, 3]]})[0] == 200


def test_the_model_to_ask_must_be_clear_at_the_start(start_serve, tmp_path):
    for name in ("one", "two"):
        twins.put(tmp_path / "models", name, 1, ONE)
    env = {**ROUTES, "AIP_STORAGE_URI": str(tmp_path / "models")}
    for args, text in [([], "only a single model"), (["--vertex-ai-default-model=nope"], "'nope' is loaded")]:
        server = start_serve(*args, env=env)
        assert server.process.wait(30) == 1 and text in server.log()
    assert predict(start_serve("--vertex-ai-default-model=two", env=env).wait(), {"instances": [[1, 2, 3]]})[0] == 200


def test_another_mode_is_no_vertex_container(start_serve, tmp_path):
    twins.put(tmp_path / "models", "one", 1, ONE)
    server = start_serve(f"--model-repository={tmp_path / 'models'}", env={"AIP_MODE": "TRAINING"}).wait()
    assert set(server.ports) == {"http", "metrics"}


def test_missing_routes_and_buckets_are_refused(start_serve, tmp_path):
    def end(**env):
        server = start_serve(env=env)
        code = server.process.wait(30)
        return code, server.log()

    code, log = end(AIP_HTTP_PORT="0", AIP_STORAGE_URI=str(tmp_path))
    assert code == 1 and "API_PREDICT_ROUTE is not defined for Vertex AI endpoint" in log
    code, log = end(**ROUTES, AIP_STORAGE_URI="gs://bucket/model")
    assert code == 1 and "gs://bucket/model" in log
    shutil.rmtree(tmp_path, ignore_errors=True)
