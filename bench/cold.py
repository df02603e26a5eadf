#!/usr/bin/env python3
"""From process start to the first answer: culmen, ONNX Runtime and OpenVINO, each in a fresh process on one core.

usage: cold.py [--samples=N] [MODEL ...]

The page cache is warm, the first sample is dropped, the median is shown. `load` is opening the model inside the process,
`first` the first inference, `total` the wall time from fork to exit, `memory` the most that was resident. The rivals are
called from Python as their users do; `import` is what that costs.
"""
import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnxruntime

from compare import MODELS, RELEASE, ROOT, feed_of

RIVAL = """
import sys, time
t0 = time.perf_counter()
import numpy as np
import {module}
feed = dict(np.load(sys.argv[2]))
t1 = time.perf_counter()
{load}
t2 = time.perf_counter()
{run}
print(f"import {{(t1 - t0) * 1e3}} load {{(t2 - t1) * 1e3}} first {{(time.perf_counter() - t2) * 1e3}}")
"""
RIVALS = {
    "onnxruntime fp32": RIVAL.format(module="onnxruntime", load="o = onnxruntime.SessionOptions(); o.intra_op_num_threads = 1\n"
                                     "s = onnxruntime.InferenceSession(sys.argv[1], o)", run="s.run(None, feed)"),
    "openvino bf16": RIVAL.format(module="openvino", load="m = openvino.Core().compile_model(sys.argv[1], 'CPU', {'INFERENCE_PRECISION_HINT': "
                                  "'bf16', 'INFERENCE_NUM_THREADS': 1, 'NUM_STREAMS': 1})", run="m(feed)"),
}


def sample(command):
    """One run of a command: the figures that it prints, total wall ms, MB resident."""
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as child:
        text = child.stdout.read()
        status = child.wait()
    if status:
        sys.exit(f'{" ".join(map(str, command))}: {text}')
    figures = {k: float(v) for k, v in re.findall(r"(import|load|first) ([0-9.]+)", text)}
    found = re.search(r"^([0-9.]+) ms", text, re.M)
    if found:
        figures["first"] = float(found[1])
    return {**figures, "total": (time.perf_counter() - start) * 1e3}


def memory(command):
    """MB that were resident at most. Polled: what wait4() says includes the parent that forked."""
    most, program = 0, os.path.realpath(command[0])
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as child:
        while child.poll() is None:
            try:
                with open(f"/proc/{child.pid}/status", encoding="utf-8") as f:
                    text = f.read()
                is_started = os.readlink(f"/proc/{child.pid}/exe") == program
            except OSError:
                break
            found = re.search(r"VmHWM:\s+(\d+) kB", text)
            if found and is_started:
                most = max(most, int(found[1]) / 1024)
    return most


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=5)
    parser.add_argument("models", nargs="*", metavar="MODEL", help="default: all")
    args = parser.parse_args()
    os.sched_setaffinity(0, {0})
    for name in args.models or MODELS:
        onnx = ROOT / MODELS[name]
        feed = feed_of(onnxruntime.InferenceSession(str(onnx), providers=["CPUExecutionProvider"]), np.random.default_rng(1))
        with tempfile.TemporaryDirectory() as folder:
            np.savez(f"{folder}/feed.npz", **feed)
            commands = {n: [sys.executable, "-c", code, str(onnx), f"{folder}/feed.npz"] for n, code in RIVALS.items()}
            for precision in ("fp32", "bf16"):
                plan = f"{folder}/{precision}.plan"
                subprocess.run([RELEASE / "culmen", "compile", onnx, "-o", plan, f"--precision={precision}"], check=True,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                inputs = []
                for i, (key, array) in enumerate(feed.items()):
                    np.save(f"{folder}/{i}.npy", array)
                    inputs.append(f"--input={key}={folder}/{i}.npy")
                commands[f"culmen {precision}"] = [RELEASE / "culmen", "run", plan, *inputs]
            print(f"\n{name} ({onnx.stat().st_size >> 20} MB of ONNX)")
            resident = {n: max(memory(c) for _ in range(3)) for n, c in commands.items()}
            samples = {n: [sample(c) for _ in range(args.samples + 1)][1:] for n, c in commands.items()}
            for n, runs in samples.items():
                median = {k: statistics.median(r[k] for r in runs) for k in runs[0]}
                parts = " + ".join(f"{k} {median[k]:.1f}" for k in ("import", "load", "first") if k in median)
                print(f"  {n:18} total {median['total']:8.1f} ms ({parts})   {resident[n]:6.0f} MB", flush=True)


if __name__ == "__main__":
    main()
