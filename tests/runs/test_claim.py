"""What a resumed run says, and a run that was interrupted before its first checkpoint."""

import logging
import os
import signal

import numpy as np
import pytest

import drifting
from configs import digits
from drifting.core import config as config_lib
from drifting.runs.workdir import claim
from drifting.training import checkpoints, writers


def test_changed_keys_are_said_in_one_line(tmp_path, caplog, monkeypatch):
    config = digits.get_config()
    config_lib.write(tmp_path / "config.json", config, {})
    monkeypatch.setattr(checkpoints, "is_resumable", lambda folder: True)
    claim(tmp_path, config)
    assert not caplog.messages
    config.train.total_steps, config.train.tensorboard = 9, False
    config.optimizer.learning_rate = 0.001
    with caplog.at_level(logging.WARNING, logger="drifting"):
        claim(tmp_path, config)
    assert caplog.messages == [
        "resuming with changed config.optimizer.learning_rate: 0.002 -> 0.001; "
        "config.train.tensorboard: True -> False; config.train.total_steps: 1500 -> 9"
    ]


def test_a_run_interrupted_before_its_first_checkpoint_starts_again(
    small_config, tmp_path, monkeypatch
):
    few = {"train.total_steps": 2, "train.sample_steps": 2}
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.Checkpoints, "save", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            drifting.train(small_config(**few), tmp_path)
    assert (tmp_path / "config.json").exists() and (tmp_path / "samples").is_dir()
    assert not checkpoints.valid_steps(tmp_path / "checkpoints")
    drifting.train(small_config(**few), tmp_path)
    rows = writers.read_metrics(tmp_path / "metrics.jsonl")
    assert [row["step"] for row in rows] == [1, 2]
    assert np.isfinite([row["loss"] for row in rows]).all()


def test_a_program_that_trains_saves_on_sigterm(small_config, tmp_path, monkeypatch, caplog):
    scalars = writers.Writers.scalars

    def stop(self, step, row):
        scalars(self, step, row)
        if step == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(writers.Writers, "scalars", stop)
    config = small_config(**{"train.total_steps": 6, "train.steps_per_call": 1})
    with pytest.raises(SystemExit) as stopped, caplog.at_level(logging.INFO, logger="drifting"):
        drifting.train(config, tmp_path)
    assert stopped.value.code == 143
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert checkpoints.valid_steps(tmp_path / "checkpoints")[-1] == 2
    assert f"SIGTERM: saved step 2 in {tmp_path}" in caplog.text
    with caplog.at_level(logging.INFO, logger="drifting"):
        drifting.train(config, tmp_path)
    assert f"resumed {tmp_path} at step 2" in caplog.text
    rows = writers.read_metrics(tmp_path / "metrics.jsonl")
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]


def _interrupt(*_):
    raise KeyboardInterrupt
