"""A run is stopped and resumed with changed keys: its starts, and the config of each checkpoint."""

import logging
import os
import shutil
import signal
import sys

import numpy as np
import pytest
import small_runs
import workdirs

import drifting
from drifting.core import json_lines
from drifting.evaluation import record
from drifting.runs.workdir import Run
from drifting.training import checkpoints, writers
from drifting.training.checkpoints import CheckpointError

KEPT = {"train.keep_checkpoints": 9, "eval.num_samples": 200, "eval.batch_size": 100}
CHANGED = {"method.sampler": "euler", "method.sampling_steps": 3, "eval.num_samples": 300}


@pytest.fixture(scope="module")
def resumed(make_once):
    """Read-only workdir of a run that SIGTERM stopped at step 4, and went on with CHANGED to 8."""

    def stop(self, step, row):
        scalars(self, step, row)
        if step == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    def make(workdir):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(writers.Writers, "scalars", stop)
            with pytest.raises(SystemExit):
                drifting.train(small_runs.meanflow(**KEPT), workdir, note="a first try")
        drifting.train(small_runs.meanflow(**KEPT | CHANGED), workdir)

    scalars = writers.Writers.scalars
    return make_once("resumed_with_changes", make)


@pytest.fixture
def copied(resumed, tmp_path):
    return shutil.copytree(resumed, tmp_path / "run")


def history(workdir):
    rows, others = json_lines.read(workdir / "history.jsonl")
    assert not others
    return rows


def test_both_starts_are_told(resumed):
    first, second = history(resumed)
    assert (first["step"], first["resumed"], first["note"]) == (0, False, "a first try")
    assert (second["step"], second["resumed"], second["note"]) == (4, True, None)
    assert first["changed"] == {}
    assert second["changed"] == {
        "eval.num_samples": {"old": 200, "new": 300},
        "method.sampler": {"old": "meanflow", "new": "euler"},
        "method.sampling_steps": {"old": 1, "new": 3},
    }
    assert first["argv"] == sys.argv
    assert first["versions"].keys() >= {"jax", "numpy"}
    assert (first["device_kind"], first["device_count"]) == ("cpu", 8)
    assert first["time"] <= second["time"]


def test_each_checkpoint_scores_by_its_own_config(copied):
    drifting.evaluate(copied, "all")
    scored = {r["step"]: (r["sampler"], r["nfe"], r["num_samples"]) for r in record.read(copied)}
    assert scored == {
        0: ("meanflow-1", 1, 200),
        4: ("meanflow-1", 1, 200),
        8: ("euler-3", 3, 300),
    }
    batches = {row["step"]: row["num_batches"] for row in record.read(copied)}
    assert batches == {0: None, 4: 4, 8: 8}, "the epoch went on"
    losses = workdirs.losses(copied)
    assert record.read(copied)[-1]["avg_loss"] == pytest.approx(np.mean(losses), rel=1e-6)
    drifting.evaluate(copied, "4", sampler="heun", sampling_steps=2, num_samples=100)
    assert (record.read(copied)[-1]["sampler"], record.read(copied)[-1]["num_samples"]) == (
        "heun-2", 100,
    )  # fmt: skip


def test_samples_are_drawn_by_the_config_of_their_checkpoint(copied):
    run = Run(copied)
    assert [run.at(step).sampler_name for step in (0, 4, 8)] == ["meanflow-1"] * 2 + ["euler-3"]
    assert run.at(0) is run.at(4) and run.at(8) is run
    run.use_sampler("meanflow", 1)
    assert run.at(4).sampler_name == run.at(8).sampler_name == "meanflow-1"
    shutil.rmtree(copied / "checkpoints" / "8")
    samples = {}
    for sampler in ((None, None), ("meanflow", 1), ("euler", 3)):
        run = Run(copied)
        run.use_sampler(*sampler)
        samples[sampler[0]] = run.sample([0] * 5, seed=1)
    np.testing.assert_array_equal(samples[None], samples["meanflow"])
    assert np.abs(samples[None] - samples["euler"]).max() > 1e-4


def test_a_damaged_newest_checkpoint_is_sampled_as_the_one_before(copied, caplog):
    before = Run(copied).at(4).config
    for path in (copied / "checkpoints" / "8" / "state").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    run = Run(copied)
    assert run.last[1] == 4
    assert run.at(4).config == before
    samples = run.sample([0] * 5, seed=1)
    shutil.rmtree(copied / "checkpoints" / "8")
    np.testing.assert_array_equal(samples, Run(copied).sample([0] * 5, seed=1))


def test_a_changed_config_is_damage(copied):
    path = copied / "checkpoints" / "4" / "config.json"
    path.write_text(path.read_text().replace('"meanflow"', '"euler"'))
    with pytest.raises(CheckpointError, match="config.json is truncated or changed"):
        Run(copied).restore(4)
    path.unlink()
    with pytest.raises(CheckpointError, match="config.json is missing"):
        Run(copied).restore(4)


def test_a_checkpoint_of_an_older_version_has_the_config_of_the_run(copied):
    workdirs.remove_own_configs(copied)
    assert checkpoints.config_of(copied / "checkpoints", 4) is None
    assert Run(copied).at(4).sampler_name == "euler-3"


def test_data_that_were_moved_are_found_where_they_are_now(copied):
    saved = copied / "config.json"
    saved.write_text(saved.read_text().replace("toy2d:gaussians", "npz:/moved.npz"))
    assert Run(copied).at(4).config.data.source == "npz:/moved.npz"


def test_a_resumed_job_scores_no_checkpoint_by_other_settings(copied, caplog):
    shutil.rmtree(copied / "checkpoints" / "8")
    config = small_runs.meanflow(**KEPT | CHANGED | {"train.evaluate": True})
    with caplog.at_level(logging.WARNING, logger="drifting"):
        drifting.train(config, copied)
    assert "step 4 was made with another config.eval.num_samples, config.method.sampler" in (
        caplog.text
    )
    scored = [(row["step"], row["sampler"]) for row in record.read(copied)]
    assert scored == [(8, "euler-3")]
    assert [row["step"] for row in history(copied)] == [0, 4, 4]
