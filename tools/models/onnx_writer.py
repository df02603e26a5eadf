"""Writes ONNX files with nothing but the standard library.

    m = Model("tiny", opset=13)
    m.input("x", FLOAT, ["batch", 4])
    m.output("y", FLOAT, ["batch", 4])
    m.node("Add", ["x", m.floats("one", [4], [1.0] * 4)], "y")
    open("model.onnx", "wb").write(m.bytes())

Only what our own models need: dense initializers, integer, float and string attributes, no subgraphs.
"""
import struct

FLOAT, UINT8, INT8, INT32, INT64, STRING, BOOL, FLOAT16, DOUBLE = 1, 2, 3, 6, 7, 8, 9, 10, 11


def _varint(value):
    value &= 2**64 - 1
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out + bytes([value]))


def _number(field, value):
    return _varint(field << 3) + _varint(value)


def _real(field, value):
    return _varint(field << 3 | 5) + struct.pack("<f", value)


def _bytes(field, value):
    if isinstance(value, str):
        value = value.encode()
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _attribute(name, value):
    """AttributeProto: name = 1, f = 2, i = 3, s = 4, floats = 7, ints = 8, type = 20."""
    if isinstance(value, bool) or isinstance(value, int):
        body, kind = _number(3, int(value)), 2
    elif isinstance(value, float):
        body, kind = _real(2, value), 1
    elif isinstance(value, (str, bytes)):
        body, kind = _bytes(4, value), 3
    elif all(isinstance(v, int) for v in value):
        body, kind = b"".join(_number(8, v) for v in value), 7
    else:
        body, kind = b"".join(_real(7, v) for v in value), 6
    return _bytes(1, name) + body + _number(20, kind)


class Model:
    """A graph under construction; parts appear in the file in the order in which they are added."""

    def __init__(self, name, opset):
        self._name, self._opset = name, opset
        self._graph, self._metadata, self._n_nodes = [], [], 0

    def _io(self, field, name, dtype, dims):
        """ValueInfoProto; a text dim is a symbol."""
        shape = b"".join(_bytes(1, _number(1, d) if isinstance(d, int) else _bytes(2, d)) for d in dims)
        tensor = _number(1, dtype) + _bytes(2, shape)
        self._graph.append(_bytes(field, _bytes(1, name) + _bytes(2, _bytes(1, tensor))))

    def input(self, name, dtype, dims):
        self._io(11, name, dtype, dims)
        return name

    def output(self, name, dtype, dims):
        self._io(12, name, dtype, dims)

    def raw(self, name, dtype, dims, data):
        """An initializer from little-endian bytes; returns its name."""
        tensor = b"".join(_number(1, d) for d in dims) + _number(2, dtype) + _bytes(8, name) + _bytes(9, data)
        self._graph.append(_bytes(5, tensor))
        return name

    def floats(self, name, dims, values):
        return self.raw(name, FLOAT, dims, struct.pack(f"<{len(values)}f", *values))

    def scalar(self, name, value):
        return self.floats(name, [], [value])

    def ints(self, name, values):
        return self.raw(name, INT64, [len(values)], struct.pack(f"<{len(values)}q", *values))

    def node(self, op, inputs, outputs=None, **attributes):
        """Adds a node and returns its only output (or the list given). Output names are made up when absent."""
        self._n_nodes += 1
        outputs = outputs or f"{op}_{self._n_nodes}_out"
        names = [outputs] if isinstance(outputs, str) else outputs
        body = b"".join(_bytes(1, i) for i in inputs) + b"".join(_bytes(2, o) for o in names)
        body += _bytes(3, f"{op}_{self._n_nodes}") + _bytes(4, op)
        body += b"".join(_bytes(5, _attribute(k, v)) for k, v in attributes.items())
        self._graph.append(_bytes(1, body))
        return outputs

    def metadata(self, key, value):
        self._metadata.append(_bytes(14, _bytes(1, key) + _bytes(2, value)))

    def bytes(self):
        graph = _bytes(2, self._name) + b"".join(self._graph)
        opset = _bytes(8, _bytes(1, "") + _number(2, self._opset))
        return _number(1, 8) + _bytes(2, "culmen") + _bytes(7, graph) + opset + b"".join(self._metadata)
