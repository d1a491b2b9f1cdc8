"""Graphs whose bytes are nothing but fields or integers are refused at once."""

import time

import pytest

from drifting.pretrained import tensorflow_graph

HOSTILE = {
    "an endless integer": b"\xff" * 10**7,
    "empty nodes": b"\x0a\x00" * 10**7,
    "integers": b"\x10\x01" * 10**7,
    "long integers": (b"\x10" + b"\x80" * 8 + b"\x01") * 10**6,
    "nodes of integers": (b"\x0a\x64" + b"\x10\x01" * 50) * 10**5,
    "a length of many digits": b"\x0a" + b"\xff" * 9 + b"\x01",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_graph_is_refused_at_once(name):
    began = time.perf_counter()
    with pytest.raises(ValueError, match="truncated or damaged"):
        tensorflow_graph.constants(HOSTILE[name])
    assert time.perf_counter() - began < 3
