"""all-MiniLM-L6-v2 (sentence embeddings) as ONNX, out of its safetensors file, and its tokenizer."""
import array
import json
import unicodedata

from onnx_writer import FLOAT, INT64, Model
from packages import FetchError

LAYERS, HEADS, HEAD_SIZE, WIDTH = 6, 12, 32, 384


class _Encoder:
    def __init__(self, safetensors):
        size = int.from_bytes(safetensors[:8], "little")
        self.header = json.loads(safetensors[8:8 + size])
        self.data = memoryview(safetensors)[8 + size:]
        self.m = Model("all_minilm_l6_v2", opset=17)

    def tensor(self, name):
        entry = self.header.get(name) or self.header["bert." + name]
        if entry["dtype"] != "F32":
            raise FetchError(f'tensor "{name}" is {entry["dtype"]}, wanted F32')
        first, last = entry["data_offsets"]
        return entry["shape"], self.data[first:last]

    def weight(self, name):
        dims, data = self.tensor(name)
        return self.m.raw(name, FLOAT, dims, bytes(data))

    def linear(self, x, name):
        (rows, columns), data = self.tensor(name + ".weight")
        values = array.array("f", bytes(data))
        turned = b"".join(values[c::columns].tobytes() for c in range(columns))
        w = self.m.raw(name + ".weight", FLOAT, [columns, rows], turned)
        return self.m.node("Add", [self.m.node("MatMul", [x, w]), self.weight(name + ".bias")])

    def norm(self, x, name):
        return self.m.node("LayerNormalization", [x, self.weight(name + ".weight"), self.weight(name + ".bias")],
                           axis=-1, epsilon=1e-12)

    def embeddings(self):
        node, ints, p = self.m.node, self.m.ints, "embeddings."
        length = node("Slice", [node("Shape", ["input_ids"]), ints("one", [1]), ints("two", [2])])
        positions = node("Slice", [self.weight(p + "position_embeddings.weight"), ints("zero", [0]), length, "zero"])
        words = node("Gather", [self.weight(p + "word_embeddings.weight"), "input_ids"])
        kinds = node("Gather", [self.weight(p + "token_type_embeddings.weight"), "token_type_ids"])
        return self.norm(node("Add", [node("Add", [words, kinds]), positions]), p + "LayerNorm")

    def attention(self, x, name, bias):
        node = self.m.node
        q, k, v = (node("Reshape", [self.linear(x, f"{name}self.{part}"), "split"]) for part in ("query", "key", "value"))
        q, v = (node("Transpose", [t], perm=[0, 2, 1, 3]) for t in (q, v))
        k = node("Transpose", [k], perm=[0, 2, 3, 1])
        scores = node("Add", [node("Mul", [node("MatMul", [q, k]), "scale"]), bias])
        mixed = node("MatMul", [node("Softmax", [scores], axis=-1), v])
        mixed = node("Reshape", [node("Transpose", [mixed], perm=[0, 2, 1, 3]), "merge"])
        return self.linear(mixed, name + "output.dense")

    def gelu(self, x):
        node = self.m.node
        erf = node("Erf", [node("Mul", [x, "half_sqrt"])])
        return node("Mul", [node("Mul", [x, node("Add", [erf, "unit"])]), "half"])

    def pool(self, x, mask):
        """The mean over real tokens, scaled to length 1."""
        node = self.m.node
        weights = node("Unsqueeze", [mask, self.m.ints("last", [-1])])
        total = node("ReduceSum", [node("Mul", [x, weights]), "one"], keepdims=0)
        mean = node("Div", [total, node("ReduceSum", [weights, "one"], keepdims=0)])
        node("Div", [mean, node("ReduceL2", [mean], axes=[1], keepdims=1)], "sentence_embedding")

    def build(self):
        m = self.m
        for name in ("input_ids", "attention_mask", "token_type_ids"):
            m.input(name, INT64, ["batch", "sequence"])
        m.ints("split", [0, 0, HEADS, HEAD_SIZE])
        m.ints("merge", [0, 0, WIDTH])
        for name, value in (("unit", 1.0), ("half", 0.5), ("half_sqrt", 0.5**0.5), ("scale", HEAD_SIZE**-0.5)):
            m.scalar(name, value)
        x = self.embeddings()
        mask = m.node("Cast", ["attention_mask"], to=FLOAT)
        far = m.node("Mul", [m.node("Sub", ["unit", mask]), m.scalar("far", -1e4)])
        bias = m.node("Unsqueeze", [far, m.ints("mask_axes", [1, 2])])
        for i in range(LAYERS):
            name = f"encoder.layer.{i}."
            x = self.norm(m.node("Add", [self.attention(x, name + "attention.", bias), x]), name + "attention.output.LayerNorm")
            h = self.gelu(self.linear(x, name + "intermediate.dense"))
            x = self.norm(m.node("Add", [self.linear(h, name + "output.dense"), x]), name + "output.LayerNorm")
        m.node("Identity", [x], "last_hidden_state")
        self.pool(x, mask)
        m.output("last_hidden_state", FLOAT, ["batch", "sequence", WIDTH])
        m.output("sentence_embedding", FLOAT, ["batch", WIDTH])
        return m.bytes()


def to_onnx(safetensors):
    return _Encoder(safetensors).build()


class Tokenizer:
    """BERT's uncased WordPiece: enough for plain sentences."""

    def __init__(self, vocab_path):
        with open(vocab_path, encoding="utf-8") as f:
            self.ids = {line.rstrip("\n"): i for i, line in enumerate(f)}

    def _words(self, text):
        text = "".join(c for c in unicodedata.normalize("NFD", text.lower()) if unicodedata.category(c) != "Mn")
        word = ""
        for c in text + " ":
            punctuation = unicodedata.category(c)[0] == "P" or (c.isascii() and not c.isalnum() and not c.isspace())
            if not c.isspace() and not punctuation:
                word += c
                continue
            if word:
                yield word
            if punctuation:
                yield c
            word = ""

    def _pieces(self, word):
        pieces, start = [], 0
        while start < len(word):
            for end in range(len(word), start, -1):
                piece = ("##" if start else "") + word[start:end]
                if piece in self.ids:
                    pieces.append(self.ids[piece])
                    start = end
                    break
            else:
                return [self.ids["[UNK]"]]
        return pieces

    def __call__(self, text):
        """The token ids of one sentence, [CLS] and [SEP] included."""
        middle = [piece for word in self._words(text) for piece in self._pieces(word)]
        return [self.ids["[CLS]"], *middle, self.ids["[SEP]"]]
