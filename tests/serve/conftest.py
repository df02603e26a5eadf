"""A running `culmen serve` for the tests of this folder."""
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
CULMEN = pathlib.Path(os.environ.get("CULMEN", pathlib.Path(__file__).resolve().parents[2] / "build/release/culmen"))
START_SECONDS = 60


class Serve:
    """One server on free ports; its ports are read from its log."""

    def __init__(self, log_path, *args, env=None, **options):
        self.log_path = log_path
        flags = {"--http-port": "0", "--metrics-port": "0"}
        given = {a.split("=")[0] for a in args}
        defaults = [f"{k}={v}" for k, v in flags.items() if k not in given]
        if env and "AIP_HTTP_PORT" in env:
            defaults = [d for d in defaults if not d.startswith("--http-port")]
        with open(log_path, "wb") as log:
            self.process = subprocess.Popen([str(CULMEN), "serve", *args, *defaults], stdout=log, stderr=log,
                                            env={**os.environ, **(env or {})}, **options)
        self.ports = {}

    def log(self):
        return pathlib.Path(self.log_path).read_text(errors="replace")

    def wait(self):
        """Until it listens on everything, or has ended."""
        end = time.time() + START_SECONDS
        while time.time() < end:
            self.ports = dict(re.findall(r"service=(\w+) address=\S+:(\d+)", self.log()))
            if "metrics" in self.ports:
                return self
            if self.process.poll() is not None:
                pytest.fail(f"culmen serve ended with {self.process.returncode}:\n{self.log()}")
            time.sleep(0.01)
        pytest.fail(f"culmen serve does not listen:\n{self.log()}")

    def address(self, service="http"):
        return f"127.0.0.1:{self.ports[service]}"

    def call(self, path, body=None, headers=None, method=None, service="http"):
        """(status, headers, body) of one request."""
        request = urllib.request.Request(f"http://{self.address(service)}{path}", body, headers or {}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, dict(answer.headers), answer.read()
        except urllib.error.HTTPError as e:
            return e.code, dict(e.headers), e.read()

    def stop(self, number=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            pytest.fail(f"culmen serve does not end:\n{self.log()}")


@pytest.fixture(scope="session")
def plan_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def start_serve(tmp_path, plan_cache):
    """Starts servers; stops them at the end of the test."""
    servers = []

    def start(*args, env=None, **options):
        env = {"CULMEN_CACHE_DIR": str(plan_cache), **(env or {})}
        servers.append(Serve(tmp_path / f"serve-{len(servers)}.log", *map(str, args), env=env, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture(scope="session")
def repository(tmp_path_factory):
    import twins
    return twins.write_repository(tmp_path_factory.mktemp("repository"))


@pytest.fixture(scope="module")
def serve(tmp_path_factory, plan_cache, repository):
    """One server with the golden repository, shared by a file's tests."""
    server = Serve(tmp_path_factory.mktemp("serve") / "log", f"--model-repository={repository}",
                   env={"CULMEN_CACHE_DIR": str(plan_cache)})
    yield server.wait()
    assert server.stop() == 0
