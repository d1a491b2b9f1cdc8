"""Reads the float constants of a frozen TensorFlow graph without TensorFlow.

Protocol-buffer wire format of GraphDef (tensorflow/core/framework/graph.proto): a message is a
row of (field number, value), so five field numbers are all that has to be known.
"""

import math
from collections.abc import Iterator

import numpy as np

NODE = 1  # GraphDef.node
NAME, OP, ATTRIBUTES = 1, 2, 5  # NodeDef
KEY, VALUE = 1, 2  # an entry of NodeDef.attr
TENSOR = 8  # AttrValue.tensor
DTYPE, SHAPE, CONTENT, FLOATS = 1, 2, 4, 5  # TensorProto
DIMENSION, SIZE = 2, 1  # TensorShapeProto.dim, .Dim.size
FLOAT32 = 1


def constants(graph: bytes) -> dict[str, np.ndarray]:
    """The float32 arrays of all Const nodes by node name.

    Raises:
      ValueError: the bytes are not a whole graph.
    """
    found = {}
    for number, node in _fields(memoryview(graph)):
        if number != NODE:
            continue
        name, op, tensor = "", b"", None
        for number, value in _fields(node):
            if number == NAME:
                name = bytes(value).decode()
            elif number == OP:
                op = bytes(value)
            elif number == ATTRIBUTES:
                entry = dict(_fields(value))
                if bytes(entry[KEY]) == b"value":
                    tensor = dict(_fields(entry[VALUE])).get(TENSOR)
        if op == b"Const" and tensor is not None:
            array = _tensor(tensor)
            if array is not None:
                found[name] = array
    return found


def _tensor(message: memoryview) -> np.ndarray | None:
    """A float32 tensor; None for another type."""
    shape, content, dtype = (), b"", None
    for number, value in _fields(message):
        if number == DTYPE:
            dtype = value
        elif number == SHAPE:
            dims = [d for n, d in _fields(value) if n == DIMENSION]
            shape = tuple(dict(_fields(d)).get(SIZE, 0) for d in dims)
        elif number in (CONTENT, FLOATS):
            content = value  # packed floats have the bytes of a tensor's content
    if dtype != FLOAT32:
        return None
    array = np.frombuffer(content, "<f4")
    if array.size == 1 and math.prod(shape) > 1:
        array = np.broadcast_to(array, math.prod(shape))  # one value stands for all
    return array.reshape(shape)


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """(field number, value) of a message: integers, and everything else as bytes."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = _varint(message, at)
            yield number, value
            continue
        if wire == 2:
            length, at = _varint(message, at)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise ValueError(f"not a graph: wire type {wire}")
        if at + length > len(message):
            raise ValueError("the graph is truncated")
        yield number, message[at : at + length]
        at += length


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(message):
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("the graph is truncated")
