"""How `culmen serve` starts, what it says when it cannot, and how it ends."""
import json
import os
import pathlib
import signal
import socket
import subprocess
import threading
import time

import pytest
import twins
from program import CULMEN
from onnx_writer import FLOAT, Model


@pytest.fixture
def models(tmp_path):
    folder = tmp_path / "models"
    twins.put(folder, "one", 1, twins.identity([("x", "y", FLOAT, ["batch", 4])]))
    return folder


def ended(server):
    return server.process.wait(60), server.log()


def test_a_bare_onnx_file_gets_tritons_defaults(start_serve, models):
    server = start_serve(f"--model-repository={models}").wait()
    config = json.loads(server.call("/v2/models/one/config")[2])
    assert config["platform"] == "onnxruntime_onnx" and config["backend"] == "onnxruntime"
    assert config["max_batch_size"] == 4 and config["dynamic_batching"]["preferred_batch_size"] == [4]
    assert config["input"][0]["dims"] == [4]
    assert config["instance_group"][0]["count"] == 2 and config["instance_group"][0]["kind"] == "KIND_CPU"
    assert "| one   | 1       | READY  |" in server.log()


def test_plans_are_cached(start_serve, models, tmp_path):
    cache = tmp_path / "cache"
    for _ in range(2):
        start_serve(f"--model-repository={models}", env={"CULMEN_CACHE_DIR": str(cache)}).wait()
    assert len(list(cache.glob("*.plan"))) == 1 and len(list(cache.iterdir())) == 1


def test_a_folder_may_hold_the_model_and_its_data(start_serve, models):
    data = (models / "one/1/model.onnx").read_bytes()
    (models / "one/1/model.onnx").unlink()
    (models / "one/1/model.onnx").mkdir()
    (models / "one/1/model.onnx/model.onnx").write_bytes(data)
    assert start_serve(f"--model-repository={models}").wait().call("/v2/models/one/ready")[0] == 200


def test_what_a_killed_server_left_in_the_cache_is_removed(start_serve, models, tmp_path):
    cache = tmp_path / "cache"
    env = {"CULMEN_CACHE_DIR": str(cache)}
    start_serve(f"--model-repository={models}", env=env).wait().stop()
    plan = next(cache.iterdir())
    (cache / f"{plan.name}.tmp123").write_bytes(plan.read_bytes()[:100])
    (cache / f"{plan.name}.lock").touch()
    plan.unlink()
    start_serve(f"--model-repository={models}", env=env).wait()
    assert [p.name for p in cache.iterdir()] == [plan.name]


def test_a_model_that_cannot_be_loaded_ends_the_start(start_serve, models):
    twins.put(models, "broken", 1, b"not onnx")
    code, log = ended(start_serve(f"--model-repository={models}"))
    assert code == 1 and "error: creating server: Internal - failed to load all models" in log
    assert "| broken | 1" in log and "UNAVAILABLE" in log


def test_a_backend_that_is_not_there_is_named(start_serve, tmp_path):
    version = tmp_path / "models/script/1"
    version.mkdir(parents=True)
    (version / "model.py").write_text("pass\n")
    code, log = ended(start_serve(f"--model-repository={tmp_path / 'models'}"))
    assert code == 1 and "unable to find backend library for backend 'python'" in log


def test_the_rest_is_served_when_errors_do_not_end_the_start(start_serve, models):
    twins.put(models, "broken", 1, b"not onnx")
    strict = start_serve(f"--model-repository={models}", "--exit-on-error=false").wait()
    assert strict.call("/v2/health/live")[0] == 200 and strict.call("/v2/health/ready")[0] == 400
    assert strict.call("/v2/models/one/ready")[0] == 200
    rows = json.loads(strict.call("/v2/repository/index", b"{}")[2])
    assert rows[0]["name"] == "broken" and rows[0]["state"] == "UNAVAILABLE" and rows[0]["reason"]
    lenient = start_serve(f"--model-repository={models}", "--exit-on-error=false", "--strict-readiness=false").wait()
    assert lenient.call("/v2/health/ready")[0] == 200


def test_a_typo_in_the_configuration_is_named_with_its_place(start_serve, models):
    (models / "one/config.pbtxt").write_text('name: "one"\nmax_batch_sise: 4\n')
    code, log = ended(start_serve(f"--model-repository={models}"))
    assert code == 1 and "config.pbtxt: line 2, column" in log and "max_batch_size" in log


@pytest.mark.parametrize("args,text", [
    (["--model-repository=/nonexistent/folder"], "/nonexistent/folder"),
    ([], "--model-repository must be specified"),
    (["--model-repository=.", "--load-model=x"], "requires setting '--model-control-mode=explicit'"),
    (["--model-repository=.", "--model-control-mode=maybe"], "maybe"),
    (["--model-repository=s3://bucket/models"], "folders, not buckets"),
    (["--model-repository=.", "--http-restricted-api=inference:key=value"], "cannot restrict its API"),
    (["--model-repository=.", "--model-namespacing=true"], "one name space"),
])
def test_bad_command_lines_are_refused(start_serve, args, text):
    code, log = ended(start_serve(*args))
    assert code == 1 and text in log


def test_a_usual_triton_command_line_needs_no_edit(start_serve, models):
    server = start_serve(f"--model-repository={models}", "--log-verbose", "1", "--strict-model-config", "false",
                         "--exit-on-error", "false", "--allow-grpc=true", "--grpc-port", "8001",
                         "--min-supported-compute-capability=6.0", "--pinned-memory-pool-byte-size=1000",
                         "--cache-config=local,size=1000", "--grpc-keepalive-time=7200000").wait()
    assert server.call("/v2/models/one/ready")[0] == 200
    assert ("flags without effect" in server.log() and "--grpc-port" in server.log()
            and "--cache-config" in server.log() and "--log-verbose" not in server.log())


def test_fields_without_effect_are_named(start_serve, models):
    (models / "one/config.pbtxt").write_text('optimization { graph { level: 1 } } parameters { key: "a" value { } }')
    server = start_serve(f"--model-repository={models}").wait()
    assert "fields=optimization.graph,parameters.a" in server.log()


def test_a_named_configuration_goes_before_config_pbtxt(start_serve, models):
    (models / "one/configs").mkdir()
    (models / "one/configs/small.pbtxt").write_text("max_batch_size: 2")
    twins.put(models, "two", 1, twins.identity([("x", "y", FLOAT, ["batch", 4])]))
    server = start_serve(f"--model-repository={models}", "--model-config-name=small").wait()
    sizes = [json.loads(server.call(f"/v2/models/{m}/config")[2])["max_batch_size"] for m in ("one", "two")]
    assert sizes == [2, 4]


def test_the_log_may_go_to_a_file(start_serve, models, tmp_path):
    log = tmp_path / "log"
    server = start_serve(f"--model-repository={models}", f"--log-file={log}")
    end = time.time() + 20
    while time.time() < end and not (log.exists() and "service=metrics" in log.read_text()):
        time.sleep(0.02)
    assert "| one   | 1       | READY  |" in log.read_text() and server.log() == ""


def test_an_empty_repository_is_ready(start_serve, tmp_path):
    folder = tmp_path / "empty"
    folder.mkdir()
    assert start_serve(f"--model-repository={folder}").wait().call("/v2/health/ready")[0] == 200


def test_a_taken_port_is_named(start_serve, models):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, log = ended(start_serve(f"--model-repository={models}", f"--http-port={port}"))
    assert code == 1
    assert f"failed to start HTTP service: Unavailable - Socket '127.0.0.1:{port}' already in use" in log


def test_a_model_in_two_repositories_is_refused(start_serve, models, tmp_path):
    other = tmp_path / "other"
    twins.put(other, "one", 1, twins.identity([("x", "y", FLOAT, ["batch", 4])]))
    twins.put(other, "two", 1, twins.identity([("x", "y", FLOAT, ["batch", 4])]))
    server = start_serve(f"--model-repository={models}", f"--model-repository={other}", "--exit-on-error=false").wait()
    assert server.call("/v2/models/two/ready")[0] == 200 and server.call("/v2/models/one/ready")[0] == 400
    assert "not unique across all model repositories" in server.log()


def test_sigterm_while_models_load_ends_at_once(start_serve, models):
    fifo = models / "slow/1/model.onnx"
    fifo.parent.mkdir(parents=True)
    os.mkfifo(fifo)  # whoever reads it waits for a writer that never comes
    server = start_serve(f"--model-repository={models}")
    end = time.time() + 20
    while "loading" not in server.log() and time.time() < end:
        time.sleep(0.01)
    assert server.stop() == 0


def test_sigterm_gives_up_a_model_that_is_being_compiled(start_serve, models, tmp_path):
    twins.put(models, "large", 1, twins.wide(2000))
    server = start_serve(f"--model-repository={models}", "--model-control-mode=explicit",
                         env={"CULMEN_CACHE_DIR": str(tmp_path / "cache")}).wait()
    answers = []
    load = threading.Thread(target=lambda: answers.append(server.call("/v2/repository/models/large/load", b"")))
    load.start()
    compiler, end = None, time.time() + 20
    while not compiler and time.time() < end:
        compiler = subprocess.run(["pgrep", "-P", str(server.process.pid)], capture_output=True, text=True).stdout.split()
    os.kill(int(compiler[0]), signal.SIGSTOP)  # one that would never end
    started = time.time()
    assert server.stop() == 0 and time.time() - started < 10
    load.join()
    assert answers[0][0] == 400 and b"the server is stopping" in answers[0][2]


def test_no_room_in_the_cache_is_named(start_serve, models):
    code, log = ended(start_serve(f"--model-repository={models}", env={"CULMEN_CACHE_DIR": "/proc/no"}))
    assert code == 1 and "CULMEN_CACHE_DIR" in log and "/proc/no" in log


@pytest.fixture
def tiny_disk(tmp_path):
    """A folder with room for 64 kB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a file system")
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"mount is not allowed here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_named_and_leaves_nothing_behind(tiny_disk, start_serve, models):
    twins.put(models, "wide", 1, twins.wide(256))
    code, log = ended(start_serve(f"--model-repository={models}", env={"CULMEN_CACHE_DIR": str(tiny_disk)}))
    assert code == 1 and "wide" in log and "No space left on device" in log
    assert [path.suffix for path in tiny_disk.iterdir()] == [".plan"]  # of the model that fits
    server = start_serve(f"--model-repository={models}", "--exit-on-error=false",
                         env={"CULMEN_CACHE_DIR": str(tiny_disk)}).wait()
    assert server.call("/v2/models/one/ready")[0] == 200 and server.call("/v2/models/wide/ready")[0] == 400


def test_listens_on_loopback_unless_called_tritonserver(start_serve, models, tmp_path, plan_cache):
    assert "service=http address=127.0.0.1:" in start_serve(f"--model-repository={models}").wait().log()
    link = tmp_path / "tritonserver"
    link.symlink_to(CULMEN.resolve())
    process = subprocess.Popen([link, f"--model-repository={models}", "--http-port=0", "--metrics-port=0"],
                               stderr=subprocess.PIPE, text=True, env={"CULMEN_CACHE_DIR": str(plan_cache)})
    lines = []
    for line in process.stderr:
        lines.append(line)
        if "service=metrics" in line:
            break
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
    assert any("service=http address=0.0.0.0:" in line for line in lines)


def test_an_inherited_socket_serves_everything(start_serve, models):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = start_serve(f"--model-repository={models}", f"--http-fd={listening.fileno()}", "--allow-metrics=true",
                             pass_fds=[listening.fileno()],
                             env={"AIP_HTTP_PORT": "1", "AIP_PREDICT_ROUTE": "/p", "AIP_HEALTH_ROUTE": "/h"}).wait()
        server.ports["http"] = listening.getsockname()[1]
        assert server.call("/h")[0] == 200 and server.call("/v2/models/one/ready")[0] == 200
        assert server.call("/p", b'{"instances":[[1,2,3,4]]}')[2] == b'{"predictions":[[1.0,2.0,3.0,4.0]]}'
        assert b"nv_inference_count" in server.call("/metrics")[2]


def test_sigterm_lets_requests_finish(start_serve, models):
    server = start_serve(f"--model-repository={models}").wait()
    body = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,4],"data":[1,2,3,4]}]}'
    counts, stop = {"ok": 0, "bad": 0}, threading.Event()

    def ask():
        while not stop.is_set():
            try:
                status = server.call("/v2/models/one/infer", body)[0]
            except OSError:
                return  # not accepted any more
            counts["ok" if status == 200 else "bad"] += 1

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    assert server.stop() == 0
    stop.set()
    for thread in threads:
        thread.join()
    assert counts["ok"] > 10 and counts["bad"] == 0


def test_explicit_mode_loads_and_unloads(start_serve, models):
    server = start_serve(f"--model-repository={models}", "--model-control-mode=explicit").wait()
    assert server.call("/v2/models/one/ready")[0] == 400
    assert json.loads(server.call("/v2/repository/index", b"")[2]) == [{"name": "one"}]
    assert server.call("/v2/repository/models/one/load", b"")[0] == 200
    assert server.call("/v2/models/one/ready")[0] == 200
    assert server.call("/v2/repository/models/one/unload", b"")[0] == 200
    assert server.call("/v2/models/one/ready")[0] == 400
    assert json.loads(server.call("/v2/repository/index", b"")[2])[0]["reason"] == "unloaded"
    status, _, body = server.call("/v2/repository/models/nope/load", b"")
    assert status == 500 and b"failed to load 'nope', failed to poll from model repository" in body


@pytest.mark.parametrize("path,body,status,text", [
    ("repository/models/one/load", None, 200, ""),
    ("repository/models/zzz/unload", None, 200, ""),
    ("repository/models/one/load", {"parameters": {"config": ""}}, 500, "failed to poll from model repository"),
    ("repository/models/one/load", {"parameters": {"config": 5}}, 500, "attempt to access JSON non-string as string"),
    ("repository/models/one/load", {"parameters": []}, 500, "attempt to get members for non-object"),
    ("repository/models/one/load", {"parameters": {"other": "x"}}, 500, "unexpected error on creating Triton parameter"),
    ("repository/models/gpu/load", None, 400, "version 1 is at UNAVAILABLE state: Invalid argument: instance group gpu_0"),
    ("repository/models/empty/load", None, 400, "at least one version must be available"),
    ("repository/models/damaged/load", None, 400, "version 1 is at UNAVAILABLE state: Invalid argument: compiling"),
    ("models/damaged/infer", {}, 404, "Request for unknown model: 'damaged' has no available versions"),
])
def test_control_answers_as_triton_does(start_serve, models, path, body, status, text):
    twins.put(models, "gpu", 1, twins.identity([("x", "y", FLOAT, ["batch", 4])]))
    (models / "gpu/config.pbtxt").write_text("instance_group { kind: KIND_CPU gpus: [ 0 ] }")
    twins.put(models, "damaged", 1, b"x")
    (models / "empty").mkdir()
    server = start_serve(f"--model-repository={models}", "--model-control-mode=explicit").wait()
    if path == "models/damaged/infer":
        server.call("/v2/repository/models/damaged/load", b"")
        index = {m["name"]: m for m in json.loads(server.call("/v2/repository/index", b"")[2])}
        assert index["damaged"]["reason"].startswith("Invalid argument: compiling")
        answer = server.call("/v2/models/damaged/stats")
        assert answer[0] == 400 and b"requested model 'damaged' is not available" in answer[2]
    got, headers, answer = server.call(f"/v2/{path}", b"" if body is None else json.dumps(body).encode())
    assert got == status and text in json.loads(answer or b'{"error":""}')["error"]
    assert headers["Content-Type"] == "application/json"


def test_poll_mode_sees_new_and_changed_models(start_serve, models):
    server = start_serve(f"--model-repository={models}", "--model-control-mode=poll", "--repository-poll-secs=1").wait()
    twins.put(models, "two", 1, twins.identity([("x", "y", FLOAT, ["batch", 2])]))
    end = time.time() + 15
    while server.call("/v2/models/two/ready")[0] != 200 and time.time() < end:
        time.sleep(0.1)
    assert server.call("/v2/models/two/ready")[0] == 200
    assert pathlib.Path(models / "one").exists()


def test_loading_what_has_not_changed_changes_nothing(start_serve, models):
    server = start_serve(f"--model-repository={models}", "--model-control-mode=explicit", "--load-model=one").wait()
    n_loads = lambda: server.log().count("successfully loaded")
    assert server.call("/v2/repository/models/one/load", b"")[0] == 200 and n_loads() == 1
    (models / "one/config.pbtxt").write_text("max_batch_size: 2")
    assert server.call("/v2/repository/models/one/load", b"")[0] == 200 and n_loads() == 2
    override = json.dumps({"parameters": {"config": json.dumps({"max_batch_size": 3})}}).encode()
    assert server.call("/v2/repository/models/one/load", override)[0] == 200 and n_loads() == 3
    assert server.call("/v2/repository/models/one/load", b"")[0] == 200 and n_loads() == 4
    assert json.loads(server.call("/v2/models/one/config")[2])["max_batch_size"] == 2


@pytest.mark.parametrize("control", ["poll", "explicit"])
def test_a_loaded_model_stays_when_its_new_configuration_is_wrong(start_serve, models, control):
    server = start_serve(f"--model-repository={models}", f"--model-control-mode={control}", "--repository-poll-secs=1",
                         *(["--load-model=one"] if control == "explicit" else [])).wait()
    (models / "one/config.pbtxt").write_text("max_batch_sise: 2")
    if control == "explicit":
        assert server.call("/v2/repository/models/one/load", b"")[0] == 500
    end = time.time() + 15
    while "the loaded versions stay" not in server.log() and time.time() < end:
        time.sleep(0.1)
    assert "config.pbtxt: line 1, column" in server.log() and "the loaded versions stay" in server.log()
    assert server.call("/v2/models/one/ready")[0] == 200


def test_a_plan_that_is_cut_while_it_is_served_costs_its_model_only(start_serve, models):
    """`cp new.plan model.plan` cuts the old file: an error for its requests, not the end of the server."""
    m = Model("wide", opset=17)
    m.input("x", FLOAT, [1, 512])
    m.node("MatMul", ["x", m.raw("w", FLOAT, [512, 512], bytes(1 << 20))], "y")
    m.output("y", FLOAT, [1, 512])
    plan = models / "wide/1/model.plan"
    plan.parent.mkdir(parents=True)
    (models / "wide.onnx").write_bytes(m.bytes())
    subprocess.run([CULMEN, "compile", models / "wide.onnx", "-o", plan], check=True)
    (models / "wide.onnx").unlink()
    server = start_serve(f"--model-repository={models}").wait()
    body = json.dumps({"inputs": [{"name": "x", "shape": [1, 512], "datatype": "FP32", "data": [1] * 512}]}).encode()
    assert server.call("/v2/models/wide/infer", body)[0] == 200
    os.truncate(plan, 0)
    status, _, answer = server.call("/v2/models/wide/infer", body)
    assert status == 500 and b"was cut while it was in use" in answer
    one = json.dumps({"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}).encode()
    assert server.call("/v2/models/one/infer", one)[0] == 200
