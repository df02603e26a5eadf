#!/usr/bin/env python3
"""Which sentences mean the same? Prepares text for minilm and compares its embeddings.

usage: sentences.py tensors VOCAB OUT_DIR [SENTENCE ...]    input_ids.npy, attention_mask.npy, token_type_ids.npy
       sentences.py compare EMBEDDINGS.npy [SENTENCE ...]   the cosine of each pair
       sentences.py ask URL VOCAB [SENTENCE ...]            ask a running `culmen serve` (URL of the model, KServe v2)
"""
import itertools
import json
import os
import sys
import urllib.request

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools", "models"))
from minilm import Tokenizer  # noqa: E402

SENTENCES = ["A cat sits on the mat.", "A kitten is resting on a rug.", "The stock market fell sharply today.",
             "How do I reset my password?", "I forgot my login credentials."]


def tensors(vocab, sentences):
    """A batch, padded to the longest sentence; the mask says what is real."""
    ids = [Tokenizer(vocab)(s) for s in sentences] if vocab else []
    length = max(map(len, ids))
    input_ids = np.array([row + [0] * (length - len(row)) for row in ids], dtype=np.int64)
    return {"input_ids": input_ids, "attention_mask": (input_ids != 0).astype(np.int64), "token_type_ids": np.zeros_like(input_ids)}


def compare(embeddings, sentences):
    embeddings = np.asarray(embeddings, dtype=np.float64).reshape(len(sentences), -1)
    lines = []
    for (a, x), (b, y) in itertools.combinations(zip(sentences, embeddings), 2):
        cosine = float(x @ y / np.linalg.norm(x) / np.linalg.norm(y))
        lines.append((cosine, f"{cosine:6.3f}  {a}  |  {b}"))
    return [text for _, text in sorted(lines, reverse=True)]


def ask(url, vocab, sentences):
    inputs = [{"name": n, "shape": t.shape, "datatype": "INT64", "data": t.tolist()} for n, t in tensors(vocab, sentences).items()]
    body = json.dumps({"inputs": inputs, "outputs": [{"name": "sentence_embedding"}]}).encode()
    with urllib.request.urlopen(urllib.request.Request(url + "/infer", body)) as answer:
        return json.load(answer)["outputs"][0]["data"]


def main(command, *args):
    if command == "tensors":
        os.makedirs(args[1], exist_ok=True)
        for name, tensor in tensors(args[0], list(args[2:]) or SENTENCES).items():
            np.save(os.path.join(args[1], name + ".npy"), tensor)
    elif command == "compare":
        print("\n".join(compare(np.load(args[0]), list(args[1:]) or SENTENCES)))
    elif command == "ask":
        sentences = list(args[2:]) or SENTENCES
        print("\n".join(compare(ask(args[0], args[1], sentences), sentences)))


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
