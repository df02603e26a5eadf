"""NVIDIA's own HTTP client against `culmen serve`."""
import numpy as np
import pytest

httpclient = pytest.importorskip("tritonclient.http")


@pytest.fixture
def client(serve):
    with httpclient.InferenceServerClient(serve.address()) as c:
        yield c


def add_sub_inputs(binary):
    a = np.arange(8, dtype=np.int32).reshape(2, 4)
    b = np.full((2, 4), 10, dtype=np.int32)
    inputs = [httpclient.InferInput(name, [2, 4], "INT32") for name in ("INPUT0", "INPUT1")]
    inputs[0].set_data_from_numpy(a, binary_data=binary)
    inputs[1].set_data_from_numpy(b, binary_data=binary)
    return a, b, inputs


@pytest.mark.parametrize("binary_in", [False, True])
@pytest.mark.parametrize("binary_out", [False, True])
def test_infer_in_json_and_binary(client, binary_in, binary_out):
    a, b, inputs = add_sub_inputs(binary_in)
    outputs = [httpclient.InferRequestedOutput(n, binary_data=binary_out) for n in ("OUTPUT0", "OUTPUT1")]
    result = client.infer("add_sub", inputs, outputs=outputs, request_id="r 7")
    assert (result.as_numpy("OUTPUT0") == a + b).all()
    assert (result.as_numpy("OUTPUT1") == a - b).all()
    assert result.get_response()["id"] == "r 7"


def test_infer_mixes_json_and_binary_inputs(client):
    a, b, inputs = add_sub_inputs(True)
    inputs[0].set_data_from_numpy(a, binary_data=False)
    assert (client.infer("add_sub", inputs).as_numpy("OUTPUT0") == a + b).all()


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_infer_with_compression_both_ways(client, algorithm):
    x = np.linspace(-1, 1, 5000, dtype=np.float32)
    tensor = httpclient.InferInput("INPUT0", [5000], "FP32")
    tensor.set_data_from_numpy(x)
    result = client.infer("identity_fp32", [tensor], request_compression_algorithm=algorithm,
                          response_compression_algorithm=algorithm)
    assert (result.as_numpy("OUTPUT0") == x).all()


def test_classification_names_the_classes(client):
    tensor = httpclient.InferInput("SCORES", [1, 5], "FP32")
    tensor.set_data_from_numpy(np.array([[0.1, 0.7, 0.05, 0.15, 0.3]], np.float32))
    result = client.infer("classify", [tensor], outputs=[httpclient.InferRequestedOutput("PROBS", class_count=2)])
    assert result.as_numpy("PROBS").tolist() == [[b"0.700000:1:dog", b"0.300000:4"]]


def test_server_and_models_describe_themselves(client):
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("add_sub")
    assert client.get_server_metadata()["name"] == "triton"
    assert client.get_model_metadata("add_sub")["inputs"][0] == {"name": "INPUT0", "datatype": "INT32", "shape": [-1, 4]}
    config = client.get_model_config("add_sub")
    assert config["platform"] == "onnxruntime_onnx" and config["max_batch_size"] == 8
    assert config["dynamic_batching"]["preferred_batch_size"] == [8]
    states = {(m["name"], m["version"]): m["state"] for m in client.get_model_repository_index()}
    assert states[("versions", "3")] == "READY" and ("versions", "2") not in states


def test_statistics_count_what_was_done(client):
    before = client.get_inference_statistics("add_sub")["model_stats"][0]
    client.infer("add_sub", add_sub_inputs(True)[2])
    after = client.get_inference_statistics("add_sub")["model_stats"][0]
    assert after["inference_count"] == before["inference_count"] + 2
    assert after["execution_count"] == before["execution_count"] + 1
    assert after["inference_stats"]["success"]["count"] == before["inference_stats"]["success"]["count"] + 1
    assert any(b["batch_size"] == 2 for b in after["batch_stats"])


@pytest.mark.parametrize("call,text", [
    (lambda c: c.infer("nope", []), "Request for unknown model: 'nope' is not found"),
    (lambda c: c.infer("add_sub", []), "expected 2 inputs but got 0 inputs"),
    (lambda c: c.get_model_config("add_sub", "9"), "version 9 is not found"),
    (lambda c: c.load_model("add_sub"), "explicit model load / unload is not allowed"),
])
def test_errors_are_tritons(client, call, text):
    with pytest.raises(httpclient.InferenceServerException if hasattr(httpclient, "InferenceServerException") else Exception,
                       match=text.replace("/", ".")):
        call(client)


def test_texts_pass_also_when_many_wait(start_serve, tmp_path):
    import twins
    from onnx_writer import STRING
    twins.put(tmp_path / "models", "texts", 1, twins.identity([("x", "y", STRING, ["batch", "n"])]))
    server = start_serve(f"--model-repository={tmp_path / 'models'}").wait()
    with httpclient.InferenceServerClient(server.address(), concurrency=8) as client:
        calls = []
        for i in range(64):
            texts = np.array([[b"", b"\x00\xff" * i, "h\u00e9".encode()]], dtype=object)
            tensor = httpclient.InferInput("x", [1, 3], "BYTES")
            tensor.set_data_from_numpy(texts)
            calls.append((texts, client.async_infer("texts", [tensor])))
        for texts, call in calls:
            assert (call.get_result().as_numpy("y") == texts).all()
        tensor.set_data_from_numpy(np.array([["a", "", "\u00e9\n"]], dtype=object), binary_data=False)
        result = client.infer("texts", [tensor], outputs=[httpclient.InferRequestedOutput("y", binary_data=False)])
        assert result.as_numpy("y").tolist() == [["a", "", "\u00e9\n"]]


def test_a_model_may_come_with_its_load_request(start_serve, tmp_path):
    import twins
    from onnx_writer import FLOAT
    data = twins.identity([("x", "y", FLOAT, ["batch", 4])])
    twins.put(tmp_path / "models", "known", 1, data)
    cache = tmp_path / "cache"
    server = start_serve(f"--model-repository={tmp_path / 'models'}", "--model-control-mode=explicit",
                         env={"CULMEN_CACHE_DIR": str(cache)}).wait()
    with httpclient.InferenceServerClient(server.address()) as client:
        for name in ("new", "known"):
            client.load_model(name, config='{"max_batch_size": 2}', files={"file:7/model.onnx": data})
            config = client.get_model_config(name)
            assert config["max_batch_size"] == 2 and client.is_model_ready(name, "7")
            tensor = httpclient.InferInput("x", [1, 4], "FP32")
            tensor.set_data_from_numpy(np.ones((1, 4), np.float32))
            assert client.infer(name, [tensor]).as_numpy("y").tolist() == [[1, 1, 1, 1]]
        assert [p.suffix for p in cache.iterdir()] == [".plan"]
        client.load_model("known")  # from the repository again
        assert client.is_model_ready("known", "1") and not client.is_model_ready("known", "7")
        for files, text in [({"file:../7/model.onnx": data}, "not a path below"), ({"file:/7/m": data}, "not a path below"),
                            ({"file:7//m": data}, "not a path below")]:
            with pytest.raises(Exception, match=text):
                client.load_model("bad", config="{}", files=files)
        with pytest.raises(Exception, match="model.onnx"):
            client.load_model("bad", config="{}", files={"file:1/model.onnx": b"damaged"})
        client.unload_model("new")
        with pytest.raises(Exception, match="failed to poll"):
            client.load_model("new")
    status, _, body = server.call("/v2/repository/models/new/load", b'{"parameters":{"file:1/model.onnx":"AAAA"}}')
    assert status == 500 and b"failed to poll" in body
    status, _, body = server.call("/v2/repository/models/new/load", b'{"parameters":{"config":"{}","file:1/model.onnx":"?"}}')
    assert status == 400 and b"base64" in body
