#!/usr/bin/env python3
"""What is in a picture? Prepares pictures for efficientnet-lite0 and reads its answers.

usage: espresso.py tensor IMAGE OUT.npy       the picture as the model wants it
       espresso.py instances IMAGE            the same as a JSON body for predict
       espresso.py label LOGITS.npy LABELS    the answer of `culmen run`, in words
       espresso.py ask URL IMAGE LABELS       ask a running `culmen serve` (URL of the model, KServe v2)
       espresso.py predictions LABELS         the answer of predict (JSON on standard input), in words
"""
import json
import sys
import urllib.request

import numpy as np
from PIL import Image

SIDE = 224


def load(path):
    """The centre square (87.5 % of the short side) at 224 x 224, [1, 3, 224, 224] float32."""
    image = Image.open(path).convert("RGB")
    side = round(min(image.size) * 0.875)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    image = image.crop((left, top, left + side, top + side)).resize((SIDE, SIDE), Image.BICUBIC)
    pixels = (np.asarray(image, dtype=np.float32) - 127) / 128
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])


def sentence(logits, labels_path):
    """"this picture is an espresso, 95 %"."""
    logits = np.asarray(logits, dtype=np.float64).reshape(-1)
    p = np.exp(logits - logits.max())
    p /= p.sum()
    with open(labels_path, encoding="utf-8") as f:
        name = f.read().splitlines()[int(p.argmax())].split(",")[0]
    article = "an" if name[0].lower() in "aeiou" else "a"
    return f"this picture is {article} {name}, {p.max():.0%}".replace("%", " %")


def ask(url, image):
    """Inference by KServe v2 with binary tensors: a JSON head, then the bytes."""
    data = load(image)
    head = json.dumps({
        "inputs": [{"name": "image", "shape": data.shape, "datatype": "FP32", "parameters": {"binary_data_size": data.nbytes}}],
        "outputs": [{"name": "logits", "parameters": {"binary_data": False}}],
    }).encode()
    request = urllib.request.Request(url + "/infer", head + data.tobytes(), {"Inference-Header-Content-Length": str(len(head))})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["outputs"][0]["data"]


def main(command, *args):
    if command == "tensor":
        np.save(args[1], load(args[0]))
    elif command == "instances":
        json.dump({"instances": load(args[0]).astype(float).round(6).tolist()}, sys.stdout)
    elif command == "label":
        print(sentence(np.load(args[0]), args[1]))
    elif command == "ask":
        print(sentence(ask(args[0], args[1]), args[2]))
    elif command == "predictions":
        print(sentence(json.load(sys.stdin)["predictions"][0], args[0]))


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
