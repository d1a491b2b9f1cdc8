"""Pickles of plain values and arrays; hostile ones are tested with sources/cifar.py, too."""

import pickle

import numpy as np
import pytest

from input_pipeline import plain_pickle
from input_pipeline.decoding import DataError


def test_a_pickle_of_python_2(tmp_path):
    # Written by hand as Python 2 and its NumPy did: bytes are strings, modules have old names.
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
