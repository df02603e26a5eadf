"""EfficientNet-Lite0 (ImageNet-1k) as ONNX, out of a PyTorch checkpoint, without PyTorch."""
import array
import collections
import io
import itertools
import pickle

from onnx_writer import FLOAT, Model
from packages import FetchError

# One row a stage: repeats, kernel, stride of the first block, expansion, channels out.
STAGES = [(1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
          (1, 3, 1, 6, 320)]


class _Checkpoint(pickle.Unpickler):
    """The legacy torch.save stream: five pickles, then the storages one after the other."""

    ITEM = {"FloatStorage": "f", "LongStorage": "q"}

    def __init__(self, stream):
        super().__init__(stream)
        self.typecodes = {}

    def find_class(self, module, name):
        known = {"OrderedDict": collections.OrderedDict, "_rebuild_tensor_v2": lambda *view: view[:4]}
        if name in self.ITEM:
            return name
        if name not in known:
            raise FetchError(f"the checkpoint wants {module}.{name}, which this reader does not know")
        return known[name]

    def persistent_load(self, pid):
        _, kind, key = pid[:3]
        self.typecodes[key] = self.ITEM[kind]
        return key


def _contiguous(storage, offset, size, stride):
    """Row-major copy of a strided view: checkpoints converted from TensorFlow hold permuted ones."""
    axes = [range(0, n * step, step) if step else [0] * n for n, step in zip(size, stride)] or [[0]]
    return array.array(storage.typecode, (storage[offset + sum(at)] for at in itertools.product(*axes)))


def _load(data):
    stream = io.BytesIO(data)
    for _ in range(3):  # magic number, protocol, machine
        pickle.Unpickler(stream).load()
    reader = _Checkpoint(stream)
    views, order = reader.load(), pickle.Unpickler(stream).load()
    storages = {}
    for key in order:
        count = int.from_bytes(stream.read(8), "little")
        storages[key] = array.array(reader.typecodes[key])
        storages[key].frombytes(stream.read(count * storages[key].itemsize))
    return {name: (list(size), _contiguous(storages[key], offset, size, stride))
            for name, (key, offset, size, stride) in views.items()}


class _Net:
    def __init__(self, weights):
        self.w = weights
        self.m = Model("efficientnet_lite0", opset=13)
        self.zero, self.six = self.m.scalar("zero", 0.0), self.m.scalar("six", 6.0)

    def weight(self, name):
        dims, values = self.w[name]
        return self.m.raw(name, FLOAT, dims, values.tobytes())

    def conv(self, x, conv, norm, kernel, stride=1, groups=1, clip=True):
        """Convolution, batch normalisation, ReLU6, with TensorFlow's SAME padding on even images."""
        total = max(kernel - stride, 0)
        before, after = total // 2, total - total // 2
        x = self.m.node("Conv", [x, self.weight(conv + ".weight")], kernel_shape=[kernel, kernel], group=groups,
                        strides=[stride, stride], pads=[before, before, after, after])
        parts = [self.weight(f"{norm}.{part}") for part in ("weight", "bias", "running_mean", "running_var")]
        x = self.m.node("BatchNormalization", [x, *parts], epsilon=1e-3)
        return self.m.node("Clip", [x, self.zero, self.six]) if clip else x

    def block(self, x, index, kernel, stride, expand, width, channels):
        name, start = f"_blocks.{index}.", x
        if expand > 1:
            x = self.conv(x, name + "_expand_conv", name + "_bn0", 1)
        x = self.conv(x, name + "_depthwise_conv", name + "_bn1", kernel, stride, width * expand)
        x = self.conv(x, name + "_project_conv", name + "_bn2", 1, clip=False)
        return self.m.node("Add", [x, start]) if stride == 1 and width == channels else x

    def build(self):
        x = self.m.input("image", FLOAT, ["batch", 3, 224, 224])
        x = self.conv(x, "_conv_stem", "_bn0", 3, 2)
        index, width = 0, 32
        for repeats, kernel, stride, expand, channels in STAGES:
            for i in range(repeats):
                x = self.block(x, index, kernel, stride if i == 0 else 1, expand, width, channels)
                index, width = index + 1, channels
        x = self.conv(x, "_conv_head", "_bn1", 1)
        x = self.m.node("Flatten", [self.m.node("GlobalAveragePool", [x])], axis=1)
        self.m.node("Gemm", [x, self.weight("_fc.weight"), self.weight("_fc.bias")], "logits", transB=1)
        self.m.output("logits", FLOAT, ["batch", 1000])
        return self.m.bytes()


def to_onnx(checkpoint):
    return _Net(_load(checkpoint)).build()
