"""Where samples are written, checked before anything is generated."""

import pytest

from drifting.runs import sample


@pytest.mark.parametrize("name", ["a.png", "a.PNG", "a.jpg", "a.JPEG", "a.webp", "a.NPZ"])
def test_a_file_of_any_format_is_no_folder(tmp_path, name):
    sample._check_out(tmp_path / name)
    assert not (tmp_path / name).exists()


def test_another_name_is_an_empty_folder(tmp_path):
    sample._check_out(tmp_path / "v1.2")
    (tmp_path / "v1.2" / "000000_0.png").touch()
    with pytest.raises(sample.WorkdirError, match="v1.2 is not empty"):
        sample._check_out(tmp_path / "v1.2")
