"""A score is on the disk before its pictures are drawn; what is kept of it besides its row."""

import json

import pytest

from drifting import pictures


def fail(*_, **__):
    raise MemoryError("no room to draw")


@pytest.mark.parametrize("name", ["plot_points", "plot_metric_vs_step"])
def test_a_picture_that_fails_is_a_warning(score, monkeypatch, caplog, tmp_path, name):
    monkeypatch.setattr(pictures, name, fail)
    rows = score(metrics=("fid",))
    assert [row["step"] for row in rows] == [0, 1]
    assert rows[1]["frechet_distance"] > rows[0]["frechet_distance"]
    assert "was not drawn: MemoryError: no room to draw" in caplog.text
    assert (tmp_path / "eval" / "fid_metrics.csv").read_text().count("\n") == 3


def test_the_row_is_written_before_the_preview(score, monkeypatch, tmp_path):
    """Also where the picture ends the process."""

    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(pictures, "plot_points", killed)
    with pytest.raises(KeyboardInterrupt):
        score("0", metrics=("fid",))
    assert (tmp_path / "eval" / "scores.jsonl").read_text().count("frechet_distance") == 1


def folders(tmp_path):
    return sorted(path.name for path in (tmp_path / "eval" / "artifacts").iterdir())


def test_each_measurement_has_a_folder_of_its_own(score, tmp_path):
    """As many as the record tells apart; a repeated one has the same."""
    asked = dict(metrics=("fid",), batch_size=64)
    for changed in ({}, {"num_samples": 64}, {"cfg_scale": 1.00000001}, {"ema": False}):
        score("0", **asked | {"num_samples": 32} | changed)
    assert len(folders(tmp_path)) == 4
    for path in (tmp_path / "eval" / "artifacts").iterdir():
        row = json.loads((path / "eval_metadata.json").read_text())["row"]
        assert f"{row['weights']}_euler-3_cfg1_seed0_step0_pixels_test_{row['num_samples']}_" in (
            path.name
        )
    score("0", **asked, num_samples=32)
    assert len(folders(tmp_path)) == 4


def test_cleaning_up_leaves_the_row_alone(score, tmp_path):
    small = dict(metrics=("fid",), num_samples=32)
    score("0", save_samples=True, **small)
    score("1", **small)
    rows = score("0", cleanup_samples=True, **small)
    assert rows[2]["frechet_distance"] == rows[0]["frechet_distance"] > 0
    (kept,) = folders(tmp_path)
    assert "_step1_" in kept
