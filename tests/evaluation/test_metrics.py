"""Metrics are known by being there: a file more is a metric more, and nothing else is touched."""

import pathlib
import subprocess
import sys
import types

import numpy as np
import pytest

from drifting.core.errors import ConfigError
from drifting.evaluation import description, metrics, report

SHIFT = '''"""How far the mean of the samples is from that of the real ones."""

import numpy as np

from drifting.evaluation.metric import Metric, Need


def shift(measured):
    offset = measured.samples.vectors.mean(0) - measured.reference.moments.mean
    return {"shift": float(np.linalg.norm(offset)), "shift_seed": measured.seed}


METRIC = Metric(
    "shift",
    columns=("shift", "shift_seed"),
    needs=Need.MOMENTS | Need.VECTORS,
    measure=shift,
    words=lambda row: f"moved by {row['shift']:.1f}",
    least_samples=5,
)
'''


@pytest.fixture
def add(tmp_path, monkeypatch):
    """add(name, text): one more file among the metrics, until the test ends."""
    folder = tmp_path / "more_metrics"

    def make(name, text):
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.py").write_text(text)
        monkeypatch.setattr(metrics, "__path__", [*metrics.__path__, str(folder)])

    there = set(sys.modules)
    yield make
    for name in set(sys.modules) - there:
        if name.startswith(metrics.__name__) and str(folder) in str(sys.modules[name].__file__):
            del sys.modules[name]


def test_the_table_begins_as_it_was_and_new_metrics_come_between():
    names = ["fid", "kid", "is", "prdc", "mifid", "energy", "neighbours"]
    assert [*metrics.known()][: len(names)] == names
    before = (
        "timestamp,checkpoint,data_set,split,features,fid_mode,epoch,step,"
        "frechet_distance,kid,kid_std,inception_score,inception_score_std,"
        "precision,recall,density,coverage,mifid,memorization_distance,"
        "energy_distance,energy_distance_real,"
        "knn_accuracy,nn_distance_samples,nn_distance_heldout,"
    )
    after = (
        ",num_samples,batch_size,cfg_scale,sampler,nfe,seed,weights,"
        "loss,drift_norm,grad_norm,feature_dist_mean,feature_dist_var,eval_seconds"
    )
    header = ",".join(report.COLUMNS)
    assert header.startswith(before) and header.endswith(after)


def test_a_metric_is_one_file(score, add):
    (old,) = score("0")
    with pytest.raises(ConfigError, match="unknown metric 'shift'"):
        score("0", metrics=("shift",))
    add("shift", SHIFT)
    assert score("0", skip=True) == [old | {"shift": "", "shift_seed": ""}]
    with pytest.raises(ConfigError, match="--metrics shift needs 5 samples or more, not 4"):
        score(metrics=("shift",), num_samples=4)
    *_, true, moved = score(metrics=("shift",))
    assert float(true["shift"]) < 0.2
    assert float(moved["shift"]) == pytest.approx(np.sqrt(2), abs=0.2)
    assert moved["shift_seed"] == "0" and moved["energy_distance"] == ""
    assert len(score(metrics=("shift",), skip=True)) == 3  # both are known to be scored
    assert report.COLUMNS.index("shift") > report.COLUMNS.index("nn_distance_heldout")
    row = {"step": 1, "shift": 1.41, "shift_seed": 0, "eval_seconds": 2.0}
    assert description.of_row(row) == "step 1, moved by 1.4, 2.0 s"


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("", TypeError, r"new\.py declares no METRIC"),
        (SHIFT.replace('"shift",\n', '"kid",\n', 1), ValueError, "have the name kid"),
        (SHIFT.replace("shift_seed", "recall"), ValueError, "have the column recall"),
        (SHIFT.replace("shift_seed", "seed"), ValueError, "cannot have the column seed"),
    ],
)
def test_a_file_that_cannot_be_a_metric_is_named(add, text, error, message):
    add("new", text)
    with pytest.raises(error, match=message):
        report.columns()


def test_formulas_are_there_by_file_and_nothing_is_imported_before_it_is_asked_for():
    code = """
import sys, drifting
from drifting.evaluation import report, settings
assert "kid" in dir(drifting.metrics) and "jax" not in sys.modules
assert drifting.metrics.kid.kernel_distance and not hasattr(drifting.metrics, "kidd")
assert "kid" in report.COLUMNS
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_metric_of_the_manual_is_one(add):
    manual = pathlib.Path(__file__).resolve().parents[2] / "docs" / "evaluation.md"
    add("of_the_manual", manual.read_text().split("```python\n")[1].split("```")[0])
    real, fake = (types.SimpleNamespace(vectors=np.full((3, 2), value)) for value in (0.0, 1.0))
    measured = types.SimpleNamespace(reference=real, samples=fake)
    row = metrics.measure(["shift"], measured)
    assert row == {"shift": pytest.approx(np.sqrt(2))}
    assert metrics.known()["shift"].words(row) == "shift 1.414"
