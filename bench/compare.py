#!/usr/bin/env python3
"""culmen beside ONNX Runtime and OpenVINO: one process, one run, one core, interleaved.

usage: compare.py [--seconds=N] [--threads=N] [--json=FILE] [MODEL ...]

Models: vit, bert, resnet50 (real sizes, random weights: bench/models.py), minilm, efficientnet-lite0 (real weights:
tools/fetch-models). Each engine has its best settings: one stream, latency hint, all graph optimisations. Rounds go
through the engines in turn; an engine's figure is the first quartile of its rounds, by the CPU time of the process,
which a neighbour on the machine does not lengthen. Needs build/release/libculmen.so (make MODE=release lib) and the
packages of bench/requirements.txt.
"""
import argparse
import ctypes
import json
import os
import pathlib
import platform
import subprocess
import sys
import time

import numpy as np
import onnxruntime
import openvino

ROOT = pathlib.Path(__file__).resolve().parent.parent
RELEASE = ROOT / "build/release"
MODELS = {
    "minilm": "build/models/minilm/model.onnx", "vit": "build/bench/vit.onnx", "bert": "build/bench/bert.onnx",
    "efficientnet-lite0": "build/models/efficientnet-lite0/model.onnx", "resnet50": "build/bench/resnet50.onnx",
}


def feed_of(session, rng):
    """Random inputs: noise for pictures, tokens for text, a mask of ones; symbols are batch 1, 128 tokens."""
    feed = {}
    for i in session.get_inputs():
        shape = [d if isinstance(d, int) else 128 if d == "sequence" else 1 for d in i.shape]
        if "float" in i.type:
            feed[i.name] = rng.standard_normal(shape).astype(np.float32)
        elif "mask" in i.name:
            feed[i.name] = np.ones(shape, np.int64)
        else:
            feed[i.name] = rng.integers(0, 2 if "type" in i.name else 30000, shape)
    return feed


class Culmen:
    """A plan through libculmen's C API."""

    def __init__(self, onnx, precision, threads):
        plan = RELEASE / f"{onnx.stem}-{onnx.parent.name}.{precision}.plan"
        subprocess.run([RELEASE / "culmen", "compile", onnx, "-o", plan, f"--precision={precision}"], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.lib = ctypes.CDLL(str(RELEASE / "libculmen.so"))
        self.error = ctypes.create_string_buffer(1024)
        self.plan, self.session = ctypes.c_void_p(), ctypes.c_void_p()
        options = (ctypes.c_size_t * 2)(threads, 0)
        self.call("culmen_plan_load", ctypes.byref(self.plan), str(plan).encode())
        self.call("culmen_session_new", ctypes.byref(self.session), self.plan, options)

    def call(self, name, *args):
        if getattr(self.lib, name)(*args, self.error):
            raise RuntimeError(self.error.raw[4:].split(b"\0")[0].decode())

    def bind(self, feed):
        self.lib.culmen_plan_find_input.restype = ctypes.c_ssize_t
        self.feed = {name: np.ascontiguousarray(a) for name, a in feed.items()}
        for name, a in self.feed.items():
            i = self.lib.culmen_plan_find_input(self.plan, name.encode())
            dims = (ctypes.c_int64 * a.ndim)(*a.shape)
            self.call("culmen_bind_input", self.session, ctypes.c_size_t(i), ctypes.c_void_p(a.ctypes.data), dims, a.ndim)

    def run(self):
        self.call("culmen_run", self.session)

    def output(self):
        tensor = (ctypes.c_int64 * 12)()
        self.call("culmen_get_output", self.session, ctypes.c_size_t(0), tensor)
        return np.ctypeslib.as_array((ctypes.c_float * (tensor[10] // 4)).from_address(tensor[9])).copy()


class OnnxRuntime:
    def __init__(self, onnx, threads):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        self.session = onnxruntime.InferenceSession(str(onnx), options, providers=["CPUExecutionProvider"])

    def bind(self, feed):
        self.feed, self.first = feed, [self.session.get_outputs()[0].name]

    def run(self):
        self.answer = self.session.run(self.first, self.feed)

    def output(self):
        return self.answer[0].ravel()


class OpenVino:
    def __init__(self, onnx, precision, threads, feed):
        core = openvino.Core()
        model = core.read_model(str(onnx))
        model.reshape({name: list(a.shape) for name, a in feed.items()})
        hints = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"}
        self.request = core.compile_model(model, "CPU", hints).create_infer_request()

    def bind(self, feed):
        for name, a in feed.items():
            self.request.set_tensor(name, openvino.Tensor(a))

    def run(self):
        self.request.infer()

    def output(self):
        return self.request.get_output_tensor(0).data.ravel()


def cosine(a, b):
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def measure(engines, seconds):
    """First quartile, in ms, of process CPU time and of wall time a run, per engine."""
    cpu, wall = {n: [] for n in engines}, {n: [] for n in engines}
    end = time.monotonic() + seconds
    while time.monotonic() < end or len(cpu[next(iter(engines))]) < 7:
        for name, engine in engines.items():
            engine.run()  # its weights come back into the caches
            c, w = time.process_time(), time.perf_counter()
            engine.run()
            cpu[name].append((time.process_time() - c) * 1e3)
            wall[name].append((time.perf_counter() - w) * 1e3)
    quartile = lambda xs: sorted(xs)[len(xs) // 4]
    return {n: {"cpu_ms": quartile(cpu[n]), "wall_ms": quartile(wall[n]), "runs": len(cpu[n])} for n in engines}


def compare(name, args):
    onnx = ROOT / MODELS[name]
    if not onnx.exists():
        sys.exit(f"{onnx} is not there; run bench/models.py build/bench and tools/fetch-models build/models")
    ort = OnnxRuntime(onnx, args.threads)
    feed = feed_of(ort.session, np.random.default_rng(1))
    engines = {
        "onnxruntime fp32": ort,
        "openvino fp32": OpenVino(onnx, "f32", args.threads, feed),
        "culmen fp32": Culmen(onnx, "fp32", args.threads),
        "openvino bf16": OpenVino(onnx, "bf16", args.threads, feed),
        "culmen bf16": Culmen(onnx, "bf16", args.threads),
    }
    for engine in engines.values():
        engine.bind(feed)
        engine.run()
    figures = measure(engines, args.seconds)
    wanted = ort.output()
    for n, engine in engines.items():
        figures[n]["cosine"] = cosine(engine.output(), wanted)
    key = "cpu_ms" if args.threads == 1 else "wall_ms"
    ms = {n: f[key] for n, f in figures.items()}
    ratios = {
        "fp32 / ORT fp32": ms["onnxruntime fp32"] / ms["culmen fp32"],
        "fp32 / OpenVINO fp32": ms["openvino fp32"] / ms["culmen fp32"],
        "bf16 / ORT fp32": ms["onnxruntime fp32"] / ms["culmen bf16"],
        "bf16 / OpenVINO bf16": ms["openvino bf16"] / ms["culmen bf16"],
    }
    print(f"\n{name}: ms a run ({key[:-3]} time, first quartile), cosine against ONNX Runtime FP32")
    for n, f in figures.items():
        print(f"  {n:18} {f[key]:9.2f}   {f['cosine']:.6f}   ({f['runs']} runs)")
    print("  " + "   ".join(f"{k} = {v:.2f}x" for k, v in ratios.items()), flush=True)
    return {"figures": figures, "speed": ratios}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20, help="a model (default 20)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("models", nargs="*", metavar="MODEL", help="default: all")
    args = parser.parse_args()
    cpu = next(line.split(":")[1].strip() for line in open("/proc/cpuinfo", encoding="utf-8") if line.startswith("model name"))
    family = [line.split(":")[1].strip() for line in open("/proc/cpuinfo", encoding="utf-8") if line.startswith(("cpu family", "model\t"))][:2]
    machine = f"{cpu} (family {family[0]}, model {family[1]}), {os.cpu_count()} CPUs, {platform.platform()}"
    print(f"{machine}; ONNX Runtime {onnxruntime.__version__}, OpenVINO {openvino.__version__.split('-')[0]}, {args.threads} thread(s)")
    if args.threads < (os.cpu_count() or 1):
        os.sched_setaffinity(0, set(range(args.threads)))
    results = {name: compare(name, args) for name in args.models or MODELS}
    if args.json:
        with open(args.json, "w", encoding="utf-8") as f:
            json.dump({"machine": machine, "threads": args.threads, "models": results}, f, indent=1)


if __name__ == "__main__":
    main()
