"""Files are written atomically; locks tell who holds them."""

import json
import os
import pathlib

import jax.numpy as jnp
import numpy as np
import pytest

from drifting.core import files
from drifting.core.files import write_atomically, write_json


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, b"old")
    with pytest.raises(TypeError):
        write_atomically(path, "not bytes")
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_json_is_whole_or_absent(tmp_path):
    path = tmp_path / "eval_metadata.json"
    content = {"fid": np.float64(2.5), "mean": jnp.arange(2), "where": pathlib.Path("a/b")}
    write_json(path, content)
    assert json.loads(path.read_text()) == {"fid": 2.5, "mean": [0, 1], "where": "a/b"}
    with pytest.raises(TypeError, match="has no JSON form"):
        write_json(path, {"what": object()})
    assert json.loads(path.read_text())["fid"] == 2.5
    assert [file.name for file in tmp_path.iterdir()] == ["eval_metadata.json"]


def test_who_holds_a_lock_is_found_without_writing(tmp_path):
    path = tmp_path / ".lock"
    assert files.holder(path) is None and not path.exists()
    with files.locked(path):
        assert files.holder(path) == str(os.getpid())
    path.write_text("123")  # left by a process that has ended
    assert files.holder(path) is None and path.read_text() == "123"
