"""Every file of the package is a metric: adding one changes no other file."""

import subprocess
import sys

import numpy as np
import pytest

from drifting.core.errors import ConfigError
from drifting.evaluation import metrics, record, summary

SHIFT = '''"""How far the mean of the samples is from that of the real ones."""

import numpy as np

from drifting.evaluation.metric import Metric, Need


def shift(comparison):
    offset = comparison.samples.vectors.mean(0) - comparison.reference.moments.mean
    return {"shift": float(np.linalg.norm(offset)), "shift_seed": comparison.seed}


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
    """add(name, text): another file among the metrics, until the test ends."""
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


def test_the_columns_keep_their_order_and_new_metrics_come_last_among_metrics():
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
        "loss,drift_norm,grad_norm,feature_dist_mean,feature_dist_var,"
        "avg_loss,avg_drift_norm,num_batches,eval_seconds"
    )
    header = ",".join(record.columns())
    assert header.startswith(before) and header.endswith(after)


def test_a_metric_is_one_file(score, add):
    (old,) = score("0")
    with pytest.raises(ConfigError, match="unknown metric 'shift'"):
        score("0", metrics=("shift",))
    add("shift", SHIFT)
    assert score("0", skip=True) == [old | {"shift": None, "shift_seed": None}]
    with pytest.raises(ConfigError, match="--metrics shift needs at least 5 samples, got 4"):
        score(metrics=("shift",), num_samples=4)
    *_, true, moved = score(metrics=("shift",))
    assert true["shift"] < 0.2
    assert moved["shift"] == pytest.approx(np.sqrt(2), abs=0.2)
    assert moved["shift_seed"] == 0 and moved["energy_distance"] is None
    assert len(score(metrics=("shift",), skip=True)) == 3  # both are known to be scored
    assert record.columns().index("shift") > record.columns().index("nn_distance_heldout")
    row = {"step": 1, "shift": 1.41, "shift_seed": 0, "eval_seconds": 2.0}
    assert summary.one_line(row) == "step 1, moved by 1.4, 2.0 s"


def test_a_metric_says_what_ranks_checkpoints_and_what_is_drawn(score, add, tmp_path):
    text = SHIFT.replace('"shift": float', '"shift": -float')
    add("far", text.replace("least_samples=5", 'ranks_by="shift", drawn="shift"'))
    score(metrics=("fid",))
    assert not (tmp_path / "eval" / "shift_vs_step.png").exists()
    with pytest.raises(ConfigError, match="best: no checkpoint has a shift .*all --metrics shift"):
        score("best", metrics=("shift",))
    score(metrics=("shift", "energy"))
    assert (tmp_path / "eval" / "shift_vs_step.png").stat().st_size > 1000
    best = [score("best", metrics=(name,))[-1]["step"] for name in ("shift", "fid", "energy")]
    assert best == [1, 0, 0]  # energy ranks none: the Frechet distance does


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("", TypeError, r"new\.py declares no METRIC"),
        (SHIFT.replace('"shift",\n', '"kid",\n', 1), ValueError, "have the name kid"),
        (SHIFT.replace("shift_seed", "recall"), ValueError, "have the column recall"),
        (SHIFT.replace("shift_seed", "seed"), ValueError, "have the column seed: it is in use"),
        (SHIFT.replace("least_samples=5", 'drawn="shft"'), ValueError, "'shift' names shft, wh"),
    ],
)
def test_a_file_that_cannot_be_a_metric_is_named(add, text, error, message):
    add("new", text)
    with pytest.raises(error, match=message):
        record.columns()


def test_formulas_are_attributes_and_are_imported_on_first_use():
    code = """
import sys, drifting
from drifting.evaluation import record, settings
assert "kid" in dir(drifting.metrics) and "jax" not in sys.modules
assert drifting.metrics.kid.kernel_distance and not hasattr(drifting.metrics, "kidd")
assert "kid" in record.columns()
"""
    subprocess.run([sys.executable, "-c", code], check=True)
