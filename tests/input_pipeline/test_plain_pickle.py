"""Pickles of plain values and arrays, old and hostile ones; see also sources/test_cifar.py."""

import pickle

import numpy as np
import pytest

from input_pipeline import plain_pickle
from input_pipeline.decoding import DataError


def test_a_pickle_of_python_2(tmp_path):
    # Written by hand as by Python 2 and its NumPy: bytes are strings, modules have old names.
    raw = bytes(range(250, 256))
    content = (
        b"\x80\x02}U\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85"
        b"U\x01b\x87R(K\x01K\x02K\x03\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNN"
        b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x06" + raw + b"tbs."
    )
    (tmp_path / "old").write_bytes(content)
    data = plain_pickle.read(tmp_path / "old")["data"]
    assert data.dtype == np.uint8 and data.tolist() == [[250, 251, 252], [253, 254, 255]]


def test_arrays_of_objects_are_refused(tmp_path):
    (tmp_path / "objects").write_bytes(pickle.dumps({"data": np.asarray([{}, []], object)}))
    with pytest.raises(DataError, match="objects cannot be read .*arrays of '.O8' are not read"):
        plain_pickle.read(tmp_path / "objects")


class Lying:
    """A structured dtype whose field holds objects, with the flags of plain numbers."""

    def __reduce__(self):
        state = (3, "|", None, ("field",), {"field": (np.dtype(object), 0)}, 8, 1, 0)
        return np.dtype, ("V8", False, True), state


def test_a_dtype_that_hides_its_objects_never_reaches_numpy(tmp_path):
    make, (kind, _, _), (version, shape, *_) = np.zeros(1).__reduce__()

    class Array:
        def __reduce__(self):
            return make, (kind, (0,), b"b"), (version, shape, Lying(), False, bytes(8))

    path = tmp_path / "lying"
    path.write_bytes(pickle.dumps({"data": Array()}, 2))
    trusted = pickle.loads(path.read_bytes())["data"].dtype
    assert trusted["field"].kind == "O" and not trusted.hasobject  # bytes taken for pointers
    with pytest.raises(DataError, match="lying cannot be read .*arrays of '.V8' are not read"):
        plain_pickle.read(path)
