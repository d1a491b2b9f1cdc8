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
