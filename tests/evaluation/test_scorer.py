"""A score is on the disk before its pictures are drawn, and does not depend on them."""

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
