"""Weight files by the suffix of their names."""

import numpy as np
import pytest

from drifting.pretrained import files


def test_the_suffix_counts_in_any_case(tmp_path):
    files.write({"w": np.float32([1.5, 2.5])}, tmp_path / "W.SafeTensors")
    readers = {".safetensors": files.read_safetensors}
    found = files.read(tmp_path / "W.SafeTensors", readers, "fetch them")
    assert found["w"].tolist() == [1.5, 2.5]
    with pytest.raises(files.WeightsError, match=r"W.onnx: unknown kind of weight file"):
        files.read(tmp_path / "W.onnx", readers, "fetch them")


def test_shapes_stay_as_they_are(tmp_path):
    state = {"scalar": np.float32(0.35), "columns": np.arange(6, dtype=np.float32).reshape(2, 3).T}
    files.write(state, tmp_path / "w.safetensors")
    found = files.read_safetensors(tmp_path / "w.safetensors")
    assert found["scalar"].shape == () and found["scalar"] == np.float32(0.35)
    np.testing.assert_array_equal(found["columns"], state["columns"])
