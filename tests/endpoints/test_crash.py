"""Processes are killed with -9 under load: what is promised to callers holds.

A short version by default; CULMEN_CRASH=full kills 20 replicas, 20 control and 10 gateway processes."""
import http.client
import json
import os
import random
import select
import signal
import threading
import time

import pytest
from running_up import PARENT, is_alive

FULL = os.environ.get("CULMEN_CRASH") == "full"
N_REPLICAS, N_CONTROL, N_GATEWAY = (20, 20, 10) if FULL else (5, 5, 3)
RATE, N_CLIENTS = 200, 8
SEED = int(os.environ.get("CULMEN_CRASH_SEED", time.time()))


class Load:
    """Predicts at RATE requests a second over kept connections; remembers what went wrong."""

    def __init__(self, up, endpoint):
        self.up, self.path = up, f"/v1/{endpoint}:predict"
        self.n_done, self.failed, self.slowest = 0, [], 0.0
        self.lock, self.ending = threading.Lock(), threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(i,)) for i in range(N_CLIENTS)]

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *_):
        self.ending.set()
        for t in self.threads:
            t.join()

    def run(self, index):
        connection, due = None, time.monotonic() + index / RATE
        while not self.ending.is_set():
            due += N_CLIENTS / RATE
            time.sleep(max(0, due - time.monotonic()))
            # As any client with a pool does: a connection that was closed while idle is not used.
            if connection and connection.sock and select.select([connection.sock], [], [], 0)[0]:
                connection.close()
                connection = None
            connection = connection or http.client.HTTPConnection("127.0.0.1", self.up.port, timeout=30)
            start, wrong = time.monotonic(), None
            try:
                connection.request("POST", self.path, b'{"instances": [[1, 2]]}')
                answer = connection.getresponse()
                content = answer.read()
                if answer.status != 200 or json.loads(content)["predictions"] != [[2, 4]]:
                    wrong = f"{answer.status} {content[:300]!r}"
                if answer.will_close:
                    connection.close()
                    connection = None
            except (OSError, http.client.HTTPException) as e:
                wrong = type(e).__name__
                connection.close()
                connection = None
            with self.lock:
                self.n_done += 1
                self.slowest = max(self.slowest, time.monotonic() - start)
                if wrong:
                    self.failed.append((round(start, 3), wrong))


class Writer:
    """Creates endpoints at 20 a second; remembers which the server acknowledged."""

    def __init__(self, up):
        self.up, self.acknowledged, self.n_failed = up, set(), 0
        self.ending, self.thread = threading.Event(), threading.Thread(target=self.run)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ending.set()
        self.thread.join()

    def run(self):
        i = 0
        while not self.ending.wait(0.05):
            i += 1
            try:
                status, answer = self.up.call("POST", f"/v1/{PARENT}/endpoints?endpointId=w{i}",
                                              {"displayName": f"w{i}"}, timeout=20)
                if status == 200 and answer.get("done"):
                    self.acknowledged.add(f"w{i}")
                    continue
            except (OSError, http.client.HTTPException):
                pass
            self.n_failed += 1

    def check(self):
        there, token = set(), ""
        while True:
            page = self.up.ok("GET", f"/v1/{PARENT}/endpoints?pageSize=1000{token}")
            there |= {e["name"].rpartition("/")[2] for e in page.get("endpoints", [])}
            if "nextPageToken" not in page:
                break
            token = f"&pageToken={page['nextPageToken']}"
        assert self.acknowledged <= there, sorted(self.acknowledged - there)
        assert len(self.acknowledged) > 10


@pytest.fixture
def served(up, tiny):
    """(up, endpoint) with two replicas."""
    random.seed(SEED)
    print("seed", SEED)
    endpoint = up.create_endpoint("served")
    up.deploy(endpoint, up.upload(tiny(2)), n=2)
    return up, endpoint


def wait_for(what, seconds=20):
    end = time.time() + seconds
    while time.time() < end:
        found = what()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError("it did not happen in time")


def kill_child(up, name):
    pid = wait_for(lambda: up.child(name))
    os.kill(pid, signal.SIGKILL)
    return wait_for(lambda: up.child(name) not in (None, pid) and up.child(name))


def test_killed_replicas_fail_no_request(served):
    up, endpoint = served
    with Load(up, endpoint) as load:
        time.sleep(1)
        for _ in range(N_REPLICAS):
            os.kill(random.choice(wait_for(lambda: list(up.replicas()))), signal.SIGKILL)
            time.sleep(random.uniform(0.3, 1.2))
        wait_for(lambda: len(up.replicas()) == 2)
        time.sleep(1)
    print(f"{load.n_done} requests, slowest {load.slowest * 1000:.0f} ms")
    assert load.failed == [] and load.n_done > 200


def test_killed_control_processes_lose_no_write_and_fail_no_request(served):
    up, endpoint = served
    before = up.replicas()
    with Load(up, endpoint) as load, Writer(up) as writer:
        time.sleep(0.5)
        for _ in range(N_CONTROL):
            kill_child(up, "control")
            time.sleep(random.uniform(0.3, 1.2))
        time.sleep(1)
    print(f"{load.n_done} requests, slowest {load.slowest * 1000:.0f} ms, {len(writer.acknowledged)} writes "
          f"acknowledged, {writer.n_failed} not")
    assert load.failed == [] and load.n_done > 200
    writer.check()
    assert up.replicas() == before  # adopted each time, never started anew


def test_killed_gateways_fail_only_what_was_in_flight(served):
    up, endpoint = served
    with Load(up, endpoint) as load:
        time.sleep(1)
        for _ in range(N_GATEWAY):
            kill_child(up, "gateway")
            time.sleep(random.uniform(0.5, 1.5))
        time.sleep(1)
    print(f"{load.n_done} requests, {len(load.failed)} failed, slowest {load.slowest * 1000:.0f} ms")
    assert len(load.failed) <= N_GATEWAY * N_CLIENTS
    assert {why for _, why in load.failed} <= {"RemoteDisconnected", "ConnectionResetError", "BrokenPipeError",
                                               "IncompleteRead"}


def test_a_killed_parent_loses_nothing(served):
    up, endpoint = served
    before = up.replicas()
    with Writer(up) as writer:
        time.sleep(1)
        old = up.child("gateway"), up.child("control")
        up.process.kill()
        up.process.wait()
        up.start()  # at once: it waits for what the old one leaves
    wait_for(lambda: not any(is_alive(pid) for pid in old))
    assert up.replicas() == before and len(before) == 2
    writer.check()
    assert up.ok("POST", f"/v1/{endpoint}:predict", {"instances": [[1, 2]]})["predictions"] == [[2, 4]]
    assert up.replicas() == before
    shown = up.ok("GET", f"/v1/{endpoint}")
    assert len(shown["deployedModels"]) == 1


def test_deployments_that_were_cut_off_are_finished(up, tiny):
    """Operations that were acknowledged end, whatever is killed meanwhile."""
    random.seed(SEED)
    endpoint, model = up.create_endpoint(), up.upload(tiny(2))
    operations = []
    for i in range(N_CONTROL):
        body = {"deployedModel": {"id": str(i + 1), "model": model, "dedicatedResources": {}}}
        killer = threading.Timer(random.uniform(0, 0.08), kill_child, (up, "control"))
        killer.start()
        try:
            status, answer = up.call("POST", f"/v1/{endpoint}:deployModel", body, timeout=20)
            if status == 200:
                operations.append(answer["name"])
        except (OSError, http.client.HTTPException):
            pass
        killer.join()
    wait_for(lambda: up.call("GET", f"/v1/{endpoint}")[0] == 200)
    for name in operations:
        up.finish(up.ok("GET", f"/v1/{name}"))
    wait_for(lambda: len(up.ok("GET", f"/v1/{endpoint}").get("deployedModels", [])) == len(up.replicas()))
    shown = {d["id"] for d in up.ok("GET", f"/v1/{endpoint}")["deployedModels"]}
    assert len(shown) >= len(operations)
    for id in shown:
        up.finish(up.ok("POST", f"/v1/{endpoint}:undeployModel", {"deployedModelId": id}))
    wait_for(lambda: up.replicas() == {})


def test_callers_at_once_and_killed_control_processes_leave_a_state_that_agrees(up, tiny):
    """Several callers deploy, undeploy and change the split of the same endpoints; every operation that was
    acknowledged ends, and endpoints, splits, operations and processes agree in the end."""
    random.seed(SEED)
    model = up.upload(tiny(2))
    endpoints = [up.create_endpoint(f"e{i}") for i in range(2)]
    operations, ending, unexpected = [], threading.Event(), []

    def call(method, path, body):
        try:
            status, answer = up.call(method, path, body, timeout=30)
        except (OSError, http.client.HTTPException):
            return
        if status == 200 and "/operations/" in answer.get("name", ""):
            operations.append(answer["name"])
        elif status not in (200, 400, 404, 409, 429, 502, 503):  # refused, or nobody there
            unexpected.append((method, path, status, answer))

    def caller(seed):
        r = random.Random(seed)
        while not ending.is_set():
            endpoint = r.choice(endpoints)
            try:
                shown = up.call("GET", f"/v1/{endpoint}")[1]
            except (OSError, http.client.HTTPException):
                continue
            ids = [d["id"] for d in shown.get("deployedModels", [])]
            action = r.random()
            if action < 0.45 and len(ids) < 4:
                split = {"0": 100} if not ids or r.random() < 0.5 else {}
                call("POST", f"/v1/{endpoint}:deployModel", {
                    "deployedModel": {"model": model, "dedicatedResources": {}}, "trafficSplit": split})
            elif action < 0.75 and ids:
                gone, rest = ids[0], ids[1:]
                call("POST", f"/v1/{endpoint}:undeployModel",
                     {"deployedModelId": gone, "trafficSplit": {rest[-1]: 100} if rest else {}})
            elif len(ids) > 1:
                call("PATCH", f"/v1/{endpoint}?updateMask=trafficSplit", {"trafficSplit": {ids[0]: 30, ids[1]: 70}})

    threads = [threading.Thread(target=caller, args=(SEED + i,)) for i in range(4)]
    for t in threads:
        t.start()
    for _ in range(N_CONTROL):
        time.sleep(random.uniform(0.2, 1))
        kill_child(up, "control")
    ending.set()
    for t in threads:
        t.join()
    assert unexpected == []
    wait_for(lambda: up.call("GET", f"/v1/{endpoints[0]}")[0] == 200)
    for name in set(operations):
        operation = up.ok("GET", f"/v1/{name}")
        while not operation.get("done"):
            operation = up.ok("POST", f"/v1/{name}:wait", {"timeout": "30s"})
    assert len(operations) > 10

    def agrees():
        shown = [up.ok("GET", f"/v1/{e}") for e in endpoints]
        n = 0
        for e in shown:
            ids = {d["id"] for d in e.get("deployedModels", [])}
            split = e.get("trafficSplit", {})
            assert set(split) <= ids and sum(split.values()) in (0, 100), e
            n += len(ids)
        return n == len(up.replicas())

    wait_for(agrees)
    used = up.ok("GET", f"/v1/{model}").get("deployedModels", [])
    assert len(used) == len(up.replicas())
