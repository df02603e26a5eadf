"""The REST verbs and the gateway, with curl and by hand."""
import json
import os
import signal
import subprocess
import time

import pytest
from running_up import CULMEN, PARENT, is_alive


def curl(*args):
    done = subprocess.run(["curl", "-sS", *args], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_whole_way_with_curl(up, tiny):
    post = ("-X", "POST", "-H", "Content-Type: application/json", "-d")
    model = {"model": {"displayName": "m", "artifactUri": f"file://{tiny(2)}", "containerSpec": {"imageUri": "culmen"}}}
    uploaded = json.loads(curl(*post, json.dumps(model), f"{up.url}/v1/{PARENT}/models:upload"))
    name = uploaded["response"]["model"]
    created = json.loads(curl(*post, '{"displayName": "e"}', f"{up.url}/v1/{PARENT}/endpoints"))
    endpoint = created["response"]["name"]
    deploy = {"deployedModel": {"model": name, "dedicatedResources": {"machineSpec": {"machineType": "n1-standard-4"},
                                                                      "minReplicaCount": 2}},
              "trafficSplit": {"0": 100}}
    deployed = up.finish(json.loads(curl(*post, json.dumps(deploy), f"{up.url}/v1/{endpoint}:deployModel")))
    id = deployed["deployedModel"]["id"]

    answer = json.loads(curl(*post, '{"instances": [[1, 2], [3, 4]]}', f"{up.url}/v1/{endpoint}:predict"))
    assert answer["predictions"] == [[2, 4], [6, 8]]
    assert answer["deployedModelId"] == id and answer["model"] == name and answer["modelDisplayName"] == "m"

    raw = curl("-i", *post, '{"instances": [[1, 2]]}', f"{up.url}/v1/{endpoint}:rawPredict")
    head, _, body = raw.partition("\n\n")
    assert json.loads(body)["predictions"] == [[2, 4]]
    headers = dict(line.lower().split(": ", 1) for line in head.splitlines()[1:])
    assert headers["x-vertex-ai-deployed-model-id"] == id

    shown = json.loads(curl(f"{up.url}/v1/{endpoint}"))
    assert shown["trafficSplit"] == {id: 100} and shown["deployedModels"][0]["status"]["availableReplicaCount"] == 2
    up.finish(json.loads(curl(*post, json.dumps({"deployedModelId": id}), f"{up.url}/v1/{endpoint}:undeployModel")))
    assert up.replicas() == {}
    assert json.loads(curl("-X", "DELETE", f"{up.url}/v1/{endpoint}"))["done"]
    assert json.loads(curl("-X", "DELETE", f"{up.url}/v1/{name}"))["done"]
    assert json.loads(curl(f"{up.url}/v1/{endpoint}"))["error"]["status"] == "NOT_FOUND"


def test_traffic_follows_the_split(up, tiny):
    endpoint = up.create_endpoint()
    one = up.deploy(endpoint, up.upload(tiny(2)))
    two = up.deploy(endpoint, up.upload(tiny(3)), {one: 90, "0": 10})

    def share(n):
        seen = {one: 0, two: 0}
        for _ in range(n):
            answer = up.ok("POST", f"/v1/{endpoint}:predict", {"instances": [[1, 1]]})
            assert answer["predictions"] == [[2, 2] if answer["deployedModelId"] == one else [3, 3]]
            seen[answer["deployedModelId"]] += 1
        return seen[two] / n

    assert 0.02 < share(300) < 0.20  # 10 %: six standard deviations
    up.ok("PATCH", f"/v1/{endpoint}?updateMask=trafficSplit", {"trafficSplit": {one: 0, two: 100}})
    end = time.time() + 2
    while share(20) < 1 and time.time() < end:
        pass
    assert share(50) == 1
    up.finish(up.ok("POST", f"/v1/{endpoint}:undeployModel", {"deployedModelId": one}))
    assert share(20) == 1


def test_a_model_that_cannot_be_loaded_fails_its_deployment_with_the_reason(up, tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/model.onnx").write_bytes(b"not a model")
    endpoint = up.create_endpoint()
    body = {"deployedModel": {"model": up.upload(tmp_path / "broken"), "dedicatedResources": {}}}
    operation = up.ok("POST", f"/v1/{endpoint}:deployModel", body)
    while not operation.get("done"):
        operation = up.ok("POST", f"/v1/{operation['name']}:wait", {"timeout": "30s"})
    assert operation["error"]["code"] == 9
    assert "Model server exited unexpectedly" in operation["error"]["message"]
    assert "model.onnx" in operation["error"]["message"]  # the server's own words
    assert "deployedModels" not in up.ok("GET", f"/v1/{endpoint}")


def test_a_predict_without_a_model_says_so(up):
    endpoint = up.create_endpoint()
    status, answer = up.call("POST", f"/v1/{endpoint}:predict", {"instances": [1]})
    assert status == 400 and "no deployed model" in answer["error"]["message"]
    status, answer = up.call("POST", f"/v1/{PARENT}/endpoints/12345:predict", {"instances": [1]})
    assert status == 404 and answer["error"]["status"] == "NOT_FOUND"


def test_errors_of_the_model_keep_their_status(up, tiny):
    endpoint = up.create_endpoint()
    up.deploy(endpoint, up.upload(tiny(2)))
    status, answer = up.call("POST", f"/v1/{endpoint}:predict", {"instances": [[1, 2, 3]]})
    assert status == 400 and answer["error"]["status"] == "INVALID_ARGUMENT"
    assert up.ok("POST", f"/v1/{endpoint}:predict", {"instances": [[1, 2]]})["predictions"] == [[2, 4]]


def test_orderly_end_leaves_replicas_for_the_next_one_and_down_ends_them(up, tiny):
    endpoint = up.create_endpoint()
    up.deploy(endpoint, up.upload(tiny(2)), n=2)
    before = up.replicas()
    up.process.send_signal(signal.SIGTERM)
    assert up.process.wait(20) == 0
    assert up.replicas() == before and len(before) == 2
    up.start()
    assert up.ok("POST", f"/v1/{endpoint}:predict", {"instances": [[1, 2]]})["predictions"] == [[2, 4]]
    assert up.replicas() == before
    done = up.down()
    assert done.returncode == 0 and "ended 2 replicas" in done.stdout
    assert not any(is_alive(pid) for pid in before)
    up.start()  # what is deployed stays deployed
    assert up.ok("POST", f"/v1/{endpoint}:predict", {"instances": [[1, 2]]})["predictions"] == [[2, 4]]


def test_a_second_up_on_the_same_folder_is_refused(up):
    done = subprocess.run([str(CULMEN), "up", f"--data-dir={up.folder}", "--listen=127.0.0.1:0"],
                          capture_output=True, text=True, timeout=30)
    assert done.returncode == 1 and "in use by another" in done.stderr


def test_folders_that_are_there_stay_as_they_are(tmp_path):
    (tmp_path / "other").mkdir(mode=0o755)
    done = subprocess.run([str(CULMEN), "down", f"--data-dir={tmp_path}/other"], capture_output=True, text=True)
    assert done.returncode == 1 and "no data folder" in done.stderr and list((tmp_path / "other").iterdir()) == []
    done = subprocess.run([str(CULMEN), "down", f"--data-dir={tmp_path}/none"], capture_output=True, text=True)
    assert done.returncode == 1 and not (tmp_path / "none").exists()
    assert (tmp_path / "other").stat().st_mode & 0o777 == 0o755


def test_a_port_in_use_is_named(up, tmp_path):
    done = subprocess.run([str(CULMEN), "up", f"--data-dir={tmp_path}/other", f"--listen=127.0.0.1:{up.port}"],
                          capture_output=True, text=True, timeout=30)
    assert done.returncode == 1 and str(up.port) in done.stderr


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0"])
def test_an_open_address_needs_insecure(tmp_path, address):
    done = subprocess.run([str(CULMEN), "up", f"--data-dir={tmp_path}/d", f"--listen={address}"],
                          capture_output=True, text=True, timeout=30)
    assert done.returncode == 2 and "--insecure" in done.stderr
    assert not (tmp_path / "d").exists()


def test_a_stopped_replica_is_taken_out(up, tiny):
    endpoint = up.create_endpoint()
    up.deploy(endpoint, up.upload(tiny(2)), n=2)
    pid = next(iter(up.replicas()))
    os.kill(pid, signal.SIGSTOP)
    end = time.time() + 15
    while "replica unready" not in up.log() and time.time() < end:
        time.sleep(0.05)
    assert "replica unready" in up.log()
    time.sleep(0.2)
    for _ in range(20):
        start = time.time()
        up.ok("POST", f"/v1/{endpoint}:predict", {"instances": [[1, 2]]})
        assert time.time() - start < 2
    os.kill(pid, signal.SIGCONT)


def test_a_full_disk_refuses_writes_and_nothing_else(make_up, tiny, tmp_path):
    disk = tmp_path / "data0"  # where the first `culmen up` of a test has its data
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here")
    up = make_up()
    try:
        endpoint = up.create_endpoint()
        up.deploy(endpoint, up.upload(tiny(2)))
        for _ in range(300):
            body = {"displayName": "big", "description": "x" * 30000}
            status, answer = up.call("POST", f"/v1/{PARENT}/endpoints", body)
            if status != 200:
                break
        assert status == 429 and answer["error"]["status"] == "RESOURCE_EXHAUSTED" and "disk" in answer["error"]["message"]
        assert up.ok("GET", f"/v1/{endpoint}")["name"] == endpoint
        assert up.ok("POST", f"/v1/{endpoint}:predict", {"instances": [[1, 2]]})["predictions"] == [[2, 4]]
        subprocess.run(["mount", "-o", "remount,size=16m", disk], check=True)
        up.create_endpoint("again")
    finally:
        up.down()
        subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("body, want, words", [
    (b'{"displayName":' + b"[" * 1000000, 400, "Invalid JSON payload"),
    (b'{"displayName": "e", "displayName": "f"}', 400, "displayName"),
    (b'{"displayName": "' + b"x" * 129 + b'"}', 400, "129 characters"),
    (b'{"displayName": 7}', 400, '"display_name": wanted string, found 7'),
    (b'{"displayName": "e", "labels": {"": "x"}}', 400, "labels"),
    (b"\xff\xfe", 400, "Invalid JSON payload"),
    (b"", 400, "display_name is missing"),
    (b" " * 3000000, 413, ""),
    (b" " * 100000000, 413, ""),
])
def test_bad_bodies_get_an_error_with_its_reason(up, body, want, words):
    try:
        status, answer = up.call("POST", f"/v1/{PARENT}/endpoints", body)
        assert status == want and words in str(answer)
    except (BrokenPipeError, ConnectionResetError):
        assert want == 413  # answered before the body was sent
    up.create_endpoint("still alive")
