"""A `culmen up` under test: its processes, its API, its replicas."""
import http.client
import json
import os
import pathlib
import socket
import subprocess
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
CULMEN = pathlib.Path(os.environ.get("CULMEN", ROOT / "build/release/culmen"))
PARENT = "projects/p1/locations/us-central1"
START_SECONDS = 30


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def processes():
    """{pid: command line} of all processes that can be read."""
    found = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
            except OSError:
                pass
    return found


def is_alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


class Up:
    """One `culmen up` on a data folder of its own."""

    def __init__(self, folder):
        self.folder, self.port, self.process = pathlib.Path(folder), free_port(), None
        self.log_path = self.folder.parent / "up.log"
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [str(CULMEN), "up", f"--data-dir={self.folder}", f"--listen=127.0.0.1:{self.port}"],
                stdout=log, stderr=log, start_new_session=True)
        end = time.time() + START_SECONDS
        while time.time() < end:
            try:
                if self.call("GET", f"/v1/{PARENT}/endpoints")[0] == 200:
                    return self
            except OSError:
                pass
            if self.process.poll() is not None:
                pytest.fail(f"culmen up ended with {self.process.returncode}:\n{self.log()}")
            time.sleep(0.02)
        pytest.fail(f"culmen up does not answer:\n{self.log()}")

    def log(self):
        return self.log_path.read_text(errors="replace")

    def call(self, method, path, body=None, headers=None, timeout=60):
        """(status, the JSON or the bytes of the answer)."""
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            data = json.dumps(body).encode() if isinstance(body, (dict, list)) else body
            c.request(method, path, data, headers or {})
            answer = c.getresponse()
            content = answer.read()
            if "json" in (answer.getheader("Content-Type") or ""):
                content = json.loads(content)
            return answer.status, content
        finally:
            c.close()

    def ok(self, method, path, body=None):
        status, content = self.call(method, path, body)
        assert status == 200, f"{method} {path}: {status} {content}"
        return content

    def finish(self, operation):
        """The response of an operation that succeeded."""
        while not operation.get("done"):
            operation = self.ok("POST", f"/v1/{operation['name']}:wait", {"timeout": "30s"})
        assert "error" not in operation, operation["error"]
        return operation["response"]

    def upload(self, folder, **container):
        model = {"displayName": "tiny", "artifactUri": str(folder), "containerSpec": {"imageUri": "culmen", **container}}
        return self.finish(self.ok("POST", f"/v1/{PARENT}/models:upload", {"model": model}))["model"]

    def create_endpoint(self, name="e"):
        return self.finish(self.ok("POST", f"/v1/{PARENT}/endpoints", {"displayName": name}))["name"]

    def deploy(self, endpoint, model, split=None, n=1):
        """The id of the deployed model."""
        body = {"deployedModel": {"model": model, "dedicatedResources": {"minReplicaCount": n}},
                "trafficSplit": split or {"0": 100}}
        operation = self.ok("POST", f"/v1/{endpoint}:deployModel", body)
        return self.finish(operation)["deployedModel"]["id"]

    def child(self, name):
        """The process id of the gateway or the control process."""
        for pid, command in processes().items():
            if command == f"culmen up: {name}" and parent_of(pid) == self.process.pid:
                return pid
        return None

    def replicas(self):
        """{process id: address} of what the state folder names and is alive."""
        found = {}
        for state in self.folder.glob("replicas/*/state"):
            try:
                fields = dict(line.split("=", 1) for line in state.read_text().splitlines())
            except OSError:
                continue
            if is_alive(int(fields["pid"])):
                found[int(fields["pid"])] = fields["address"]
        return found

    def down(self):
        done = subprocess.run([str(CULMEN), "down", f"--data-dir={self.folder}"], capture_output=True, text=True,
                              timeout=90)
        if self.process:
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        return done


def parent_of(pid):
    try:
        return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None
