"""Real models give ONNX Runtime's answers, and answers that a person finds right.

FP32: the largest error is at most 1e-4 of the output's range; where ONNX Runtime is itself further than that from a float64
computation (truth.py), the error against float64 counts, and must be smaller than its. BF16: the cosine is at least 0.9995, or no
worse than that of OpenVINO's BF16 on the same input (on a CPU that has BF16).
"""
import numpy as np
import onnxruntime
import pytest
from PIL import Image, ImageDraw, ImageFont

import espresso
import sentences
from truth import truth

ISAS = ["generic", "avx2", "avx512", "avx512-bf16"]


def oracle(path, feed):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, feed)))


def openvino_cosines(path, feed, wanted):
    """{output name: the cosine that OpenVINO's BF16 reaches}."""
    import openvino

    model = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "bf16"})
    answer = model(feed)
    return {name: cosine(answer[name], want) for name, want in wanted.items()}


@pytest.fixture
def run(culmen, tmp_path):
    """Compiles a model and runs it once: {output name: array}."""

    def go(path, feed, precision="fp32", isa=None, threads=1):
        plan, out = tmp_path / f"{precision}.plan", tmp_path / "out"
        culmen("compile", path, "-o", plan, f"--precision={precision}", *([f"--isa={isa}"] if isa else []))
        arguments = []
        for i, (name, array) in enumerate(feed.items()):
            np.save(tmp_path / f"in{i}.npy", array)
            arguments.append(f"--input={name}={tmp_path}/in{i}.npy")
        done = culmen("run", plan, *arguments, f"--output-dir={out}", f"--threads={threads}", check=False)
        if isa and "the plan needs a CPU with" in done.stderr:
            pytest.skip(f"{isa} is above what this machine, or CULMEN_ISA, has")
        assert done.returncode == 0, done.stderr
        return {f.stem: np.load(f) for f in out.glob("*.npy")}

    return go


def close(got, want):
    """The largest error as a part of the range of what was wanted."""
    assert got.shape == want.shape
    return float(np.abs(got - want).max() / max(want.max() - want.min(), 1e-30))


def cosine(a, b):
    a, b = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def is_exact(have, want, path, feed, name):
    if close(have, want) <= 1e-4:
        return True
    true = truth(path, feed)[name]
    return close(have, true) <= min(1e-4, close(want, true))


def check(run, path, feed, isa=None):
    wanted = oracle(path, feed)
    for precision in ("fp32", "bf16"):
        got = run(path, feed, precision, isa)
        for name, want in wanted.items():
            have = got["".join(c if c.isalnum() or c in "._-" else "_" for c in name)]
            if precision == "fp32":
                assert is_exact(have, want, path, feed, name), (name, close(have, want))
            else:
                found = cosine(have, want)
                assert found >= 0.9995 or found >= openvino_cosines(path, feed, wanted)[name], (name, found)
    return wanted


@pytest.mark.parametrize("batch", [1, 3])
def test_efficientnet_sees_an_espresso(run, model, batch):
    picture = espresso.load(model("images/coffee.png"))
    feed = {"image": np.repeat(picture, batch, axis=0)}
    check(run, model("efficientnet-lite0/model.onnx"), feed)
    logits = run(model("efficientnet-lite0/model.onnx"), feed)["logits"]
    assert espresso.sentence(logits[0], model("efficientnet-lite0/labels.txt")) == "this picture is an espresso, 95 %"


def test_minilm_knows_which_sentences_mean_the_same(run, model):
    feed = sentences.tensors(model("minilm/vocab.txt"), sentences.SENTENCES)
    check(run, model("minilm/model.onnx"), feed)
    lines = sentences.compare(run(model("minilm/model.onnx"), feed)["sentence_embedding"], sentences.SENTENCES)
    assert {line.split("  ", 1)[1].split("  |")[0] for line in lines[:2]} == {"A cat sits on the mat.", "How do I reset my password?"}


def test_minilm_does_not_depend_on_neighbours_in_the_batch(run, model):
    vocab, path = model("minilm/vocab.txt"), model("minilm/model.onnx")
    alone = run(path, sentences.tensors(vocab, sentences.SENTENCES[:1]))["sentence_embedding"][0]
    together = run(path, sentences.tensors(vocab, sentences.SENTENCES))["sentence_embedding"][0]
    assert np.abs(alone - together).max() < 2e-6


def test_ocr_reads_a_line(run, model):
    image = Image.new("RGB", (320, 48), "white")
    ImageDraw.Draw(image).text((6, 4), "Hello culmen 2026", "black", ImageFont.load_default(32))
    pixels = np.asarray(image, dtype=np.float32)[:, :, ::-1] / 127.5 - 1
    feed = {"x": np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])}
    path = model("ppocr-v4/rec.onnx")
    (scores,) = check(run, path, feed).values()
    session = onnxruntime.InferenceSession(str(path))
    alphabet = ["", *session.get_modelmeta().custom_metadata_map["character"].splitlines(), " "]
    best = run(path, feed)["softmax_11.tmp_0"][0].argmax(-1)
    text = "".join(alphabet[c] for i, c in enumerate(best) if c and (i == 0 or c != best[i - 1]))
    assert text.replace(" ", "") == "Helloculmen2026"


def test_ocr_finds_two_lines(run, model):
    image = Image.new("RGB", (320, 320), "white")
    for y, text in ((60, "first line"), (200, "second line")):
        ImageDraw.Draw(image).text((20, y), text, "black", ImageFont.load_default(40))
    pixels = (np.asarray(image, dtype=np.float32) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    feed = {"x": np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], dtype=np.float32)}
    (mask,) = check(run, model("ppocr-v4/det.onnx"), feed).values()
    rows = (run(model("ppocr-v4/det.onnx"), feed)["sigmoid_0.tmp_0"][0, 0] > 0.3).any(axis=1)
    assert int((np.diff(rows.astype(int)) == 1).sum()) == 2


def noise(kind, seed, shape):
    """Numbers with no picture in them: networks that were trained on pictures amplify what is rounded."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(shape) if kind == "normal" else rng.random(shape) * 4 - 2).astype(np.float32)


@pytest.mark.parametrize("kind", ["normal", "uniform"])
@pytest.mark.parametrize("name, feed, shape", [
    ("ppocr-v4/det.onnx", "x", (1, 3, 320, 320)), ("ppocr-v4/rec.onnx", "x", (1, 3, 48, 320)),
    ("efficientnet-lite0/model.onnx", "image", (1, 3, 224, 224)),
])
def test_noise_is_no_excuse(run, model, name, feed, shape, kind):
    """BF16 over all seeds together: det answers noise with a few pixels of 1e-4, and the rounding of one decides a cosine."""
    path, ours, theirs = model(name), [], []
    for seed in range(1, 4):
        tensors = {feed: noise(kind, seed, shape)}
        ((output, want),) = oracle(path, tensors).items()
        (have,) = run(path, tensors).values()
        assert is_exact(have, want, path, tensors, output), (seed, close(have, want))
        (narrow,) = run(path, tensors, "bf16").values()
        ours.append(cosine(narrow, want))
        theirs.append(openvino_cosines(path, tensors, {output: want})[output])
    assert min(ours) >= 0.9995 or np.mean(ours) >= np.mean(theirs), (ours, theirs)


@pytest.mark.parametrize("picture", ["coffee", "page"])
@pytest.mark.parametrize("name, size", [("det", (480, 320)), ("rec", (320, 48))])
def test_pictures_without_text_too(run, model, name, size, picture):
    image = np.asarray(Image.open(model(f"images/{picture}.png")).convert("RGB").resize(size), dtype=np.float32)
    feed = {"x": np.ascontiguousarray(((image / 255 - 0.45) / 0.225).transpose(2, 0, 1)[None])}
    check(run, model(f"ppocr-v4/{name}.onnx"), feed)


def magika_bytes(data):
    head, tail = data[:4096].lstrip()[:1024], data[-4096:].rstrip()[-1024:]
    row = [*head, *[256] * (1024 - len(head)), *[256] * (1024 - len(tail)), *tail]
    return {"bytes": np.array([row], dtype=np.int32)}


def test_magika_names_file_types(run, model):
    import json

    labels = json.loads(model("magika/config.json").read_text())["target_labels_space"]
    for path, wanted in (("/bin/ls", "elf"), (model("images/coffee.png"), "png")):
        feed = magika_bytes(open(path, "rb").read())
        check(run, model("magika/model.onnx"), feed)
        assert labels[int(run(model("magika/model.onnx"), feed)["target_label"][0].argmax())] == wanted


@pytest.mark.parametrize("isa", ISAS)
def test_every_instruction_set_gives_the_same_answer(run, model, isa):
    feed = sentences.tensors(model("minilm/vocab.txt"), sentences.SENTENCES)
    check(run, model("minilm/model.onnx"), feed, isa)
    check(run, model("efficientnet-lite0/model.onnx"), {"image": espresso.load(model("images/coffee.png"))}, isa)


@pytest.mark.parametrize("isa", ["generic", "avx2", "avx512"])
def test_bf16_weights_are_all_that_is_narrow_without_a_bf16_unit(run, model, isa):
    feed = sentences.tensors(model("minilm/vocab.txt"), sentences.SENTENCES)
    wanted = oracle(model("minilm/model.onnx"), feed)["sentence_embedding"]
    assert cosine(run(model("minilm/model.onnx"), feed, "bf16", isa)["sentence_embedding"], wanted) >= 0.99998


def test_two_threads_give_the_answer_of_one(run, model):
    feed = sentences.tensors(model("minilm/vocab.txt"), sentences.SENTENCES)
    one, two = (run(model("minilm/model.onnx"), feed, threads=n) for n in (1, 2))
    for name in one:
        assert np.array_equal(one[name], two[name])


def test_a_report_has_the_time_of_every_phase(culmen, model, tmp_path):
    import json

    culmen("compile", model("efficientnet-lite0/model.onnx"), "-o", tmp_path / "m.plan", f"--report={tmp_path}/r.json")
    report = json.loads((tmp_path / "r.json").read_text())
    assert list(report["time_ms"]) == ["read", "import", "passes", "lower", "write"]
    assert all(ms > 0 for ms in report["time_ms"].values())


# In a process of its own: a child's peak counts the memory of the process that it was forked from.
MEASURE = """
import os, subprocess, sys
_, code, usage = os.wait4(subprocess.Popen(sys.argv[1:]).pid, 0)
assert code == 0
print(usage.ru_maxrss * 1024)
"""


def test_compiling_takes_little_more_memory_than_the_plan(model, tmp_path):
    """Weights are views of the mapped model until they are packed, and leave memory then."""
    import subprocess
    import sys

    from program import CULMEN

    for precision in ("fp32", "bf16"):
        plan = tmp_path / f"{precision}.plan"
        command = [CULMEN, "compile", model("minilm/model.onnx"), "-o", plan, f"--precision={precision}"]
        peak = int(subprocess.check_output([sys.executable, "-c", MEASURE, *map(str, command)]))
        assert peak < plan.stat().st_size + (100 << 20)
