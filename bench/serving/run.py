#!/usr/bin/env python3
"""culmen serve beside the real Triton Inference Server, in one run on one machine.

    python3 -m venv V && V/bin/pip install nvidia-pytriton numpy      # brings the tritonserver binary
    bench/serving/run.py --triton=V/lib/python3.*/site-packages [--seconds=3] [--blocks=3] [--json=FILE] [--only=600K-json]

An identity model: Triton with a C backend of a few lines (identity_backend.c), culmen with a compiled ONNX Identity.
Three payloads (16 B, 64 KiB, 600 KB of FP32), JSON and binary, loaded by wrk. Blocks of the two servers alternate, the median
of each server's blocks counts. "closed": 16 connections as fast as they can; "paced": 16 connections that pause between
requests, so that both servers get about the same load, which is where CPU per request is compared.
"""
import argparse
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "tests/serve"))
TICK = os.sysconf("SC_CLK_TCK")
PAYLOADS = {"16B": 4, "64K": 16384, "600K": 150528}
PAUSE_MS = {"16B": 2, "64K": 40, "600K": 900}  # per connection: what the slower server can take, too
CONNECTIONS = 16
SLOW_BLOCK = 3  # a block of the largest payload lasts so many times longer


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


class Server:
    def __init__(self, name, command, port, env=None):
        self.name, self.port = name, port
        self.log = tempfile.NamedTemporaryFile(prefix=name, suffix=".log", delete=False)
        start = time.time()
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, env={**os.environ, **(env or {})})
        while not self.is_ready():
            if self.process.poll() is not None or time.time() - start > 60:
                raise SystemExit(f"{name} does not start: {open(self.log.name, errors='replace').read()[-3000:]}")
            time.sleep(0.002)
        self.ready_s = time.time() - start

    def is_ready(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as s:
                s.sendall(b"GET /v2/health/ready HTTP/1.1\r\nHost: x\r\n\r\n")
                return b" 200 " in s.recv(200)
        except OSError:
            return False

    def cpu_s(self):
        fields = open(f"/proc/{self.process.pid}/stat").read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def memory_mib(self):
        return int(re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{self.process.pid}/status").read())[1]) / 1024

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(40)
        except subprocess.TimeoutExpired:
            self.process.kill()


def start_triton(packages, folder):
    triton = packages / "pytriton/tritonserver"
    backend = folder / "backends/cidentity"
    backend.mkdir(parents=True)
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", backend / "libtriton_cidentity.so",
                    HERE / "identity_backend.c"], check=True)
    model = folder / "triton/identity"
    (model / "1").mkdir(parents=True)
    (model / "config.pbtxt").write_text(
        'backend: "cidentity"\nmax_batch_size: 0\ninput [{ name: "INPUT0" data_type: TYPE_FP32 dims: [ -1 ] }]\n'
        'output [{ name: "OUTPUT0" data_type: TYPE_FP32 dims: [ -1 ] }]\ninstance_group [{ kind: KIND_CPU count: 1 }]\n')
    port = free_port()
    return Server("triton", [triton / "bin/tritonserver", f"--backend-directory={folder / 'backends'}",
                             f"--model-repository={folder / 'triton'}", f"--http-port={port}", "--http-address=127.0.0.1",
                             "--allow-grpc=false", "--allow-metrics=false", "--log-info=false"], port,
                  {"LD_LIBRARY_PATH": str(packages / "nvidia_pytriton.libs")})


def start_culmen(folder):
    import twins
    from onnx_writer import FLOAT
    twins.put(folder / "culmen", "identity", 1, twins.identity([("INPUT0", "OUTPUT0", FLOAT, ["n"])]))
    (folder / "culmen/identity/config.pbtxt").write_text(
        'max_batch_size: 0\ninput [{ name: "INPUT0" data_type: TYPE_FP32 dims: [ -1 ] }]\n'
        'output [{ name: "OUTPUT0" data_type: TYPE_FP32 dims: [ -1 ] }]\ninstance_group [{ kind: KIND_CPU count: 1 }]\n')
    port = free_port()
    culmen = os.environ.get("CULMEN", ROOT / "build/release/culmen")
    return Server("culmen", [culmen, "serve", f"--model-repository={folder / 'culmen'}", f"--http-port={port}",
                             "--metrics-port=0"], port, {"CULMEN_CACHE_DIR": str(folder / "cache")})


def write_bodies(folder):
    """(payload, form) -> (file, size of the JSON header or 0)."""
    bodies = {}
    for name, n in PAYLOADS.items():
        data = struct.pack(f"<{n}f", *(random.uniform(-3, 3) for _ in range(n)))
        values = struct.unpack(f"<{n}f", data)
        tensor = {"name": "INPUT0", "datatype": "FP32", "shape": [n]}
        text = json.dumps({"inputs": [{**tensor, "data": [float(f"{v:.9g}") for v in values]}]}, separators=(",", ":"))
        head = json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": 4 * n}}],
                           "outputs": [{"name": "OUTPUT0", "parameters": {"binary_data": True}}]}).encode()
        for form, body, size in (("json", text.encode(), 0), ("binary", head + data, len(head))):
            path = folder / f"{name}.{form}"
            path.write_bytes(body)
            bodies[name, form] = (path, size)
    return bodies


def load(server, body, size, seconds, pause_ms):
    before = server.cpu_s()
    out = subprocess.run(["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", "-s", str(HERE / "load.lua"),
                          f"http://127.0.0.1:{server.port}/v2/models/identity/infer", "--", str(body), str(size),
                          str(pause_ms)], capture_output=True, text=True, check=True).stdout
    n = int(re.search(r"(\d+) requests in", out)[1])
    if "Non-2xx" in out or n == 0:
        raise SystemExit(f"{server.name}: {out}")
    value, unit = re.search(r"50%\s+([\d.]+)(us|ms|s)", out).groups()
    return {"rps": float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1]), "cpu_us": (server.cpu_s() - before) / n * 1e6,
            "p50_ms": float(value) * {"us": 1e-3, "ms": 1, "s": 1e3}[unit]}


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--triton", type=pathlib.Path, required=True, help="site-packages with nvidia-pytriton")
    options.add_argument("--seconds", type=int, default=3)
    options.add_argument("--blocks", type=int, default=3)
    options.add_argument("--json", type=pathlib.Path)
    options.add_argument("--only", action="append", metavar="PAYLOAD-FORM", help="such as 600K-json; several times for several")
    o = options.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="culmen-bench-"))
    servers, results = [], []
    try:
        bodies = {key: body for key, body in write_bodies(folder).items() if not o.only or "-".join(key) in o.only}
        servers = [start_culmen(folder), start_triton(o.triton.resolve(), folder)]
        for s in servers:
            print(f"{s.name}: ready after {s.ready_s * 1e3:.0f} ms, {s.memory_mib():.0f} MiB")
        print(f"{'load':7}{'payload':>8} {'form':7}{'culmen/s':>10}{'triton/s':>10}{'ratio':>7}"
              f"{'culmen us':>11}{'triton us':>11}{'ratio':>7}{'culmen p50':>12}{'triton p50':>12}")
        for mode in ("closed", "paced"):
            for (payload, form), (body, size) in bodies.items():
                pause = PAUSE_MS[payload] if mode == "paced" else 0
                blocks = {s.name: [] for s in servers}
                for _ in range(o.blocks):
                    for s in servers:
                        blocks[s.name].append(load(s, body, size, o.seconds * (SLOW_BLOCK if payload == "600K" else 1), pause))
                c, t = ({k: statistics.median(b[k] for b in blocks[s.name]) for k in ("rps", "cpu_us", "p50_ms")}
                        for s in servers)
                results.append({"load": mode, "payload": payload, "form": form, "culmen": c, "triton": t})
                print(f"{mode:7}{payload:>8} {form:7}{c['rps']:10.0f}{t['rps']:10.0f}{c['rps'] / t['rps']:7.2f}"
                      f"{c['cpu_us']:11.1f}{t['cpu_us']:11.1f}{c['cpu_us'] / t['cpu_us']:7.2f}"
                      f"{c['p50_ms']:12.3f}{t['p50_ms']:12.3f}", flush=True)
        if o.json:
            o.json.write_text(json.dumps(results, indent=1) + "\n")
    finally:
        for s in servers:
            s.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
