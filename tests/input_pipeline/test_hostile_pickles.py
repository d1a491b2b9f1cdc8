"""Pickles of a few bytes that would take all time or memory are refused at once."""

import pickle
import time

import numpy as np
import pytest

from input_pipeline import plain_pickle
from input_pipeline.decoding import DataError
from input_pipeline.sources import load

DICT = b"\x80\x02}"  # protocol 2, an empty dict
KEY = b"U\x01a"


def doubled(empty, both):
    """A value that holds another twice, which holds another twice, 60 levels deep."""
    return empty + b"".join(b"q%c" % i + both % (i, i) for i in range(60))


def long_bytes(length):
    return length.to_bytes(8, "little")


NESTED = doubled(b")", b"0h%ch%c\x86")
HOSTILE = {
    "a nested key": (DICT + NESTED + b"K\x01s.", "a tuple occurs in it more than once"),
    "a nested value": (DICT + KEY + NESTED + b"s.", "a tuple occurs in it more than once"),
    "nested lists": (DICT + KEY + doubled(b"]", b"](h%ch%ce") + b"s.", "a list occurs in it more"),
    "a deep key": (DICT + b")" + b"\x85" * 10**5 + b"K\x01s.", "neither a text nor a number"),
    "deep keys": (DICT + b"()" + b"\x85" * 10**5 + b"K\x01u.", "neither a text nor a number"),
    "a deep dict": (b"\x80\x02()" + b"\x85" * 10**5 + b"K\x01d.", "neither a text nor a number"),
    "a deep value": (DICT + KEY + b")" + b"\x85" * 10**5 + b"s.", "a tuple in it is not plain"),
    "a set": (pickle.dumps({"a": {1}}, 4), "the instruction b'.x8f' is refused"),
    "many lists": (DICT + b"(" + b"]" * 10**7 + b"s.", "more than 500000 instructions"),
    "a long bytearray": (b"\x80\x05}" + KEY + b"\x96" + long_bytes(2**40) + b"s.", "EOFError"),
    "long bytes": (b"\x80\x04}" + KEY + b"\x8e" + long_bytes(2**40) + b"s.", "EOFError"),
    "a long text again": (
        DICT + KEY + b"X" + (2000).to_bytes(4, "little") + b"t" * 2000 + b"q\x00h\x00\x86s.",
        "a str occurs in it more than once",
    ),
    "state of a function": (
        DICT + KEY + b"c_codecs\nencode\n}U\x0c__defaults__K\x01sbs.",
        "a function has no state",
    ),
    "an array of a nested type": (
        DICT + KEY + b"cnumpy\nndarray\n)R(K\x01K\x02\x85cnumpy\ndtype\n" + NESTED + b"\x85R",
        "a tuple occurs in it more than once",
    ),
    "nothing": (b"", "EOFError"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_pickle_is_refused_at_once(tmp_path, name):
    content, message = HOSTILE[name]
    (tmp_path / "file").write_bytes(content)
    began = time.perf_counter()
    with pytest.raises(DataError, match=f"file cannot be read .*{message}") as error:
        plain_pickle.read(tmp_path / "file")
    assert time.perf_counter() - began < 3 and len(str(error.value)) < 500


@pytest.mark.parametrize("protocol", range(6))
def test_what_official_files_hold_is_read(tmp_path, protocol):
    values = {b"data": np.arange(6, dtype=np.uint8), b"labels": [1, 2], b"batch_label": b"one of 1"}
    (tmp_path / "file").write_bytes(pickle.dumps(values | {b"names": ["x"] * 3}, protocol))
    found = plain_pickle.read(tmp_path / "file")
    assert found["data"].tolist() == list(range(6)) and found["labels"] == [1, 2]
    assert found["batch_label"] == b"one of 1" and found["names"] == ["x"] * 3


def test_a_file_larger_than_any_official_one_is_not_read(tmp_path):
    for i in range(1, 6):
        (tmp_path / f"data_batch_{i}.bin").touch()
    with open(tmp_path / "data_batch_1.bin", "r+b") as file:
        file.truncate(3073 * 10**7)  # 30 GB that take no place
    with pytest.raises(DataError, match="data_batch_1.bin has 30730000000 bytes, more than any"):
        load(f"cifar10:{tmp_path}", image_size=32, channels=3)
