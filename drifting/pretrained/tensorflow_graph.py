"""Reads the float32 constants of a frozen TensorFlow graph, a protocol buffer, by NumPy alone."""

import collections
from collections.abc import Callable

import numpy as np

# Field numbers of tensorflow/core/framework/{graph,node_def,attr_value,tensor}.proto.
NODE, NAME, OP, ATTRIBUTES = 1, 1, 2, 5  # GraphDef.node; of NodeDef
KEY, VALUE, TENSOR = 1, 2, 8  # of an entry of NodeDef.attr; AttrValue.tensor
DTYPE, SHAPE, CONTENT, FLOATS, FLOAT32 = 1, 2, 4, 5, 1  # of TensorProto; DataType
DIMENSION, SIZE = 2, 1  # TensorShapeProto.dim, .Dim.size

# A graph of 1,000 nodes has some 20,000 fields. A damaged file can have one in every two bytes.
MAX_FIELDS = 100_000


def constants(graph: bytes) -> dict[str, np.ndarray]:
    """The float32 arrays of all Const nodes by node name. Raises ValueError for a damaged graph."""
    found = {}
    fields = _Reader().fields
    try:
        for node in map(fields, fields(memoryview(graph))[NODE]):
            if node[OP] == [b"Const"]:
                attributes = [e for e in map(fields, node[ATTRIBUTES]) if e[KEY] == [b"value"]]
                tensor = fields(fields(attributes[0][VALUE][0])[TENSOR][0])
                if tensor[DTYPE] == [FLOAT32]:
                    found[str(node[NAME][0], "utf-8")] = _array(tensor, fields)
    except (LookupError, TypeError, OverflowError) as error:
        raise ValueError(f"the graph is damaged: {error}") from error
    return found


def _array(tensor: dict[int, list], fields: Callable) -> np.ndarray:
    dimensions = [fields(d)[SIZE] for shape in tensor[SHAPE] for d in fields(shape)[DIMENSION]]
    shape = tuple(size[0] if size else 0 for size in dimensions)
    array = np.frombuffer(b"".join(tensor[CONTENT] or tensor[FLOATS]), "<f4")
    # A single value is the value of all elements.
    return np.broadcast_to(array[0], shape) if array.size == 1 else array.reshape(shape)


class _Reader:
    """Reads the messages of one graph, MAX_FIELDS fields at most."""

    def __init__(self):
        self.left = MAX_FIELDS

    def fields(self, message: memoryview) -> dict[int, list]:
        """The values by field number: integers, and anything else as bytes."""
        found, at = collections.defaultdict(list), 0
        while at < len(message):
            tag, at = _varint(message, at)
            number, wire_type = divmod(tag, 8)
            length, start = {1: (8, at), 5: (4, at)}.get(wire_type) or _varint(message, at)
            at = start + length if wire_type else start
            self.left -= 1
            if wire_type not in (0, 1, 2, 5) or at > len(message) or self.left < 0:
                raise ValueError("the graph is truncated or damaged")
            found[number].append(message[start:at] if wire_type else length)
        return found


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """The integer at `at`, of at most ten bytes of seven bits each, and where it ends."""
    value = 0
    for i, byte in enumerate(message[at : at + 10]):
        value |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            return value, at + i + 1
    raise ValueError("the graph is truncated or damaged: an integer does not end")
