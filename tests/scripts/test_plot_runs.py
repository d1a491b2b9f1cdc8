import json
import re

import numpy as np
import pytest
import script_modules

from drifting import pictures
from drifting.evaluation import record

plot_runs = script_modules.load("plot_runs")


@pytest.fixture
def drawn(monkeypatch):
    """The series that plot_lines was called with."""
    calls = []
    monkeypatch.setattr(
        pictures, "plot_lines", lambda series, *given, **options: calls.append(series)
    )
    return calls


@pytest.fixture
def make(tmp_path):
    """make(name, scores, logged) -> folder of a run with rows of scores and of metrics."""

    def write(name, scores=(), logged=()):
        (tmp_path / name).mkdir(parents=True)
        for row in scores:
            record.append(tmp_path / name, row)
        lines = "".join(json.dumps(row) + "\n" for row in logged)
        (tmp_path / name / "metrics.jsonl").write_text(lines)
        return str(tmp_path / name)

    return write


def score(step, distance, **other):
    row = {
        "step": step, "frechet_distance": distance, "data_set": "digits", "split": "train",
        "features": "pixels", "num_samples": 1000, "cfg_scale": 1.5, "seed": 42, "weights": "ema",
    }  # fmt: skip
    return row | other


def test_equal_settings_are_a_line_a_run(make, drawn, capsys, tmp_path):
    old = make("old", [score(20, 3.0), score(10, 9.0), score(20, 5.0, seed=43)])
    new = make("new", [score(20, 2.0, cfg_scale=np.float32(1.5))])
    plot_runs.compare([old, new], str(tmp_path / "out.png"))
    assert drawn == [{"old": ((10, 20, 20), (9, 3, 5)), "new": ((20,), (2,))}]
    assert capsys.readouterr().out.splitlines() == [
        "| run | step | frechet_distance |",
        "| --- | --- | --- |",
        "| old | 20 | 4 |",  # mean over seeds
        "| new | 20 | 2 |",
    ]


def test_scores_that_are_not_comparable_are_lines_that_say_so(make, drawn, caplog, tmp_path):
    old = make("old", [score(10, 9.0), score(10, 4.0, cfg_scale=2.0)])
    new = make("new", [score(10, 2.0, num_samples=50_000)])
    plot_runs.compare([old, new], str(tmp_path / "out.png"))
    assert list(drawn[0]) == [
        "old, num_samples 1000, cfg_scale 1.5",
        "old, num_samples 1000, cfg_scale 2",
        "new, num_samples 50000, cfg_scale 1.5",
    ]
    assert "scores of different num_samples, cfg_scale are not comparable" in caplog.text


def test_other_metrics_are_those_that_training_logged(make, drawn, tmp_path):
    logged = [{"step": 1, "loss": 3.0}, {"step": 2, "loss": 2.0, "val_accuracy": 0.5}]
    run = make("run", [score(1, 9.0, loss=7.0)], logged)
    for metric in ("loss", "val_accuracy"):
        plot_runs.compare([run], str(tmp_path / "out.png"), metric, ["mine"])
    assert drawn == [{"mine": ((1, 2), (3.0, 2.0))}, {"mine": ((2,), (0.5,))}]


def test_runs_of_one_name_are_told_apart_by_their_paths(make, drawn, tmp_path):
    runs = [make("a/run", logged=[{"step": 1, "loss": 1}]), make("b/run", [score(1, 1.0)])]
    (tmp_path / "b/run/metrics.jsonl").write_text('{"step": 1, "loss": 2}\n')
    plot_runs.compare(runs, str(tmp_path / "out.png"), "loss")
    assert list(drawn[0]) == runs


def test_what_is_missing_is_named_with_what_there_is(make, tmp_path):
    run = make("run", [score(1, 9.0, kid=0.1)], [{"step": 1, "loss": 3.0}])
    out = tmp_path / "pictures" / "out.png"
    for runs, metric, labels, message in (
        ([run], "los", None, f"{run} has no los; it has frechet_distance, kid, loss"),
        ([run], "precision", None, "has no precision; it has frechet_distance, kid, loss"),
        ([run + "s"], "loss", None, f"{run}s is not the workdir of a run; runs next to it: {run}"),
        ([run, run], "loss", ["a"], "--labels a: 2 runs need 2 labels, not 1"),
        ([run, run], "loss", None, "two runs would be called"),
        ([], "loss", None, "name the workdirs of runs"),
    ):
        with pytest.raises(plot_runs.ComparisonError, match=re.escape(message)):
            plot_runs.compare(runs, str(out), metric, labels)
    assert not out.parent.exists()


def test_the_picture_is_where_it_was_asked_for(make, tmp_path):
    run = make("run", [score(10, 9.0), score(20, 4.0)])
    out = tmp_path / "pictures" / "out.png"
    plot_runs.compare([run], str(out))
    assert out.stat().st_size > 1000
