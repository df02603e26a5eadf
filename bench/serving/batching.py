#!/usr/bin/env python3
"""What the dynamic batcher of culmen serve is worth: the same model with and without it, in one run.

    bench/serving/batching.py [--model=build/models/efficientnet-lite0/model.onnx] [--connections=16] [--seconds=2]
                              [--blocks=7] [--json=FILE]

Two models: `wide`, two layers whose FP32 weights are four times the L3 cache, so that one request costs a pass over memory
and a batch costs the same; and one with much arithmetic for its weights, where batching has little to gain and must not
harm: --model, a real one with static dims past the batch, or `dense`, a few small convolutions. Binary requests of batch 1 from
wrk, one instance. Blocks of the two servers alternate (A B, B A, ...), after one of each that does not count; medians count, for
the ratios the median of those within a pair of blocks. "us" is the server's CPU time per request, which other work on the machine
disturbs least.
"""
import argparse
import json
import os
import pathlib
import shutil
import statistics
import sys
import tempfile
import urllib.request

import numpy as np

import run

sys.path.insert(0, str(run.ROOT / "tools/models"))
from onnx_writer import FLOAT, Model  # noqa: E402


def l3_bytes():
    for path in pathlib.Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        if (path / "level").read_text().strip() == "3":
            size = (path / "size").read_text().strip()
            return int(size[:-1]) * {"K": 1 << 10, "M": 1 << 20}[size[-1]]
    return 32 << 20


def weight(m, name, dims, fan_in):
    values = np.random.default_rng(len(name) + dims[0]).standard_normal(dims, dtype=np.float32) / fan_in**0.5
    return m.raw(name, FLOAT, list(dims), values.astype("<f4").tobytes())


def wide(l3):
    width = int((4 * l3 / 4 / 2) ** 0.5) // 64 * 64
    m = Model("wide", opset=18)
    m.input("x", FLOAT, ["batch", width])
    m.output("y", FLOAT, ["batch", 16])
    h = "x"
    for i in range(2):
        h = m.node("Relu", [m.node("MatMul", [h, weight(m, f"w{i}", (width, width), width)])])
    m.node("MatMul", [h, weight(m, "head", (width, 16), width)], "y")
    return {"name": "x", "shape": [-1, width]}, {"name": "y", "shape": [-1, 16]}, m.bytes()


def dense():
    m = Model("dense", opset=18)
    m.input("x", FLOAT, ["batch", 32, 28, 28])
    m.output("y", FLOAT, ["batch", 32])
    h = "x"
    for i in range(4):
        h = m.node("Relu", [m.node("Conv", [h, weight(m, f"w{i}", (32, 32, 3, 3), 288)], pads=[1, 1, 1, 1])])
    m.node("Flatten", [m.node("GlobalAveragePool", [h])], "y")
    return {"name": "x", "shape": [-1, 32, 28, 28]}, {"name": "y", "shape": [-1, 32]}, m.bytes()


def real(path):
    """A model file with its input's dims, as a server describes it."""
    folder = pathlib.Path(tempfile.mkdtemp())
    (folder / "identity/1").mkdir(parents=True)
    (folder / "identity/1/model.onnx").write_bytes(path.read_bytes())
    server = launch(folder, folder / "cache", "probe")
    try:
        url = f"http://127.0.0.1:{server.port}/v2/models/identity"
        meta = json.load(urllib.request.urlopen(url))
    finally:
        server.stop()
        shutil.rmtree(folder)
    return meta["inputs"][0], meta["outputs"][0], path.read_bytes()


def launch(repository, cache, name):
    port = run.free_port()
    culmen = os.environ.get("CULMEN", run.ROOT / "build/release/culmen")
    return run.Server(name, [culmen, "serve", f"--model-repository={repository}", f"--http-port={port}", "--metrics-port=0"],
                      port, {"CULMEN_CACHE_DIR": str(cache)})


def start(folder, name, onnx, x, y, is_batching):
    repository = folder / f"{name}-{is_batching}"
    (repository / "identity/1").mkdir(parents=True)
    (repository / "identity/1/model.onnx").write_bytes(onnx)
    (repository / "identity/config.pbtxt").write_text(
        f'max_batch_size: 16\ninput [{{ name: "{x["name"]}" data_type: TYPE_FP32 dims: {x["shape"][1:]} }}]\n'
        f'output [{{ name: "{y["name"]}" data_type: TYPE_FP32 dims: {y["shape"][1:]} }}]\n'
        f'instance_group [{{ kind: KIND_CPU count: 1 }}]\n{"dynamic_batching { }" if is_batching else ""}\n')
    return launch(repository, folder / "cache", "batching" if is_batching else "single")


def write_body(folder, name, x, y):
    dims = x["shape"][1:]
    data = np.random.default_rng(1).standard_normal(dims, dtype=np.float32).tobytes()
    head = json.dumps({"inputs": [{"name": x["name"], "datatype": "FP32", "shape": [1, *dims],
                                   "parameters": {"binary_data_size": len(data)}}],
                       "outputs": [{"name": y["name"], "parameters": {"binary_data": True}}]}).encode()
    path = folder / f"{name}.body"
    path.write_bytes(head + data)
    return path, len(head)


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--model", type=pathlib.Path, help="a compute-bound ONNX model with one FP32 input")
    options.add_argument("--connections", type=int, default=16)
    options.add_argument("--seconds", type=int, default=2)
    options.add_argument("--blocks", type=int, default=7)
    options.add_argument("--json", type=pathlib.Path)
    o = options.parse_args()
    run.CONNECTIONS = o.connections
    folder, results = pathlib.Path(tempfile.mkdtemp(prefix="culmen-batching-")), []
    print(f"{'model':19}{'weights':>9}{'single/s':>10}{'batched/s':>11}{'ratio':>7}{'single p50':>12}{'batched p50':>13}"
          f"{'single us':>11}{'batched us':>12}{'ratio':>7}")
    try:
        other = (o.model.parent.name, real(o.model)) if o.model else ("dense", dense())
        for name, (x, y, onnx) in (("wide", wide(l3_bytes())), other):
            body, size = write_body(folder, name, x, y)
            servers = [start(folder, name, onnx, x, y, is_batching) for is_batching in (False, True)]
            try:
                blocks = [[], []]
                for i in range(-1, o.blocks):
                    for k in (0, 1) if i % 2 == 0 else (1, 0):
                        block = run.load(servers[k], body, size, o.seconds, 0)
                        if i >= 0:
                            blocks[k].append(block)
            finally:
                for s in servers:
                    s.stop()
            single, batched = ({k: statistics.median(b[k] for b in kept) for k in ("rps", "cpu_us", "p50_ms")}
                               for kept in blocks)
            rps, cpu = (statistics.median(b[k] / a[k] for a, b in zip(*blocks)) for k in ("rps", "cpu_us"))
            results.append({"model": name, "weights": len(onnx), "single": single, "batched": batched, "rps_ratio": rps,
                            "cpu_ratio": cpu})
            print(f"{name:19}{len(onnx) / 2**20:6.0f}MiB{single['rps']:10.1f}{batched['rps']:11.1f}"
                  f"{rps:7.2f}{single['p50_ms']:12.2f}{batched['p50_ms']:13.2f}"
                  f"{single['cpu_us']:11.0f}{batched['cpu_us']:12.0f}{cpu:7.2f}", flush=True)
        if o.json:
            o.json.write_text(json.dumps(results, indent=1) + "\n")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
