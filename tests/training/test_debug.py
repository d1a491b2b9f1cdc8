"""What --debug changes in a config, and that the command line has the last word."""

import importlib
import json
import subprocess
import sys

import pytest
from places import ROOT

from configs import cifar10, digits
from drifting.core import config as config_lib
from drifting.core import optimizers
from drifting.core.errors import ConfigError
from drifting.training import debug, schedule
from drifting.training.schedule import Schedule


@pytest.mark.parametrize(
    "name", ["digits:ldf", "cifar10", "meanflow_cifar10", "meanflow_toy2d", "classifier_digits"]
)
def test_a_short_run_of_any_config(name, tmp_path):
    module, _, variant = name.partition(":")
    config = importlib.import_module(f"configs.{module}").get_config(*filter(None, [variant]))
    per_call = config.train.steps_per_call
    debug.shorten(config, {}, tmp_path)
    found = schedule.make(config.train, 320, 50_000)
    assert found == Schedule(200, 10, 50, 100, per_call, found.per_epoch, plot=20)
    assert (config.train.keep_checkpoints, config.train.evaluate) == (1, False)
    sections = [key for key in config if key.endswith("optimizer")]
    for section in sections:
        rates = optimizers.learning_rates(config[section], 200, section)
        assert float(rates(20)) == pytest.approx(config[section].learning_rate, rel=0.02)


def test_keys_of_the_command_line_win(tmp_path):
    config = cifar10.get_config()
    given = {
        "train.total_epochs": 2.0,
        "train.log_steps": 3,
        "train.keep_checkpoints": 4,
        "optimizer.warmup_steps": 50,
    }
    config.train.total_steps = None
    config.update_from_flattened_dict(given)
    debug.shorten(config, given, tmp_path)
    found = schedule.make(config.train, 500, 50_000)
    assert (found.total, found.log, found.sample, found.checkpoint) == (390, 3, 50, 100)
    assert (config.train.keep_checkpoints, config.optimizer.warmup_steps) == (4, 50)


def test_a_longer_run_keeps_its_checkpoints(finished_run):
    config = digits.get_config()
    with pytest.raises(ConfigError, match="holds a run of another length.* another --workdir"):
        debug.shorten(config, {}, finished_run)
    config.train.total_steps = config_lib.read(finished_run / "config.json")[0].train.total_steps
    debug.shorten(config, {"train.total_steps": 12}, finished_run)


def test_the_flag(tmp_path):
    program = (
        "import drifting, json, runpy, sys\n"
        "def train(config, workdir, **_):\n"
        "    t = config.train\n"
        "    print(json.dumps([str(workdir), t.total_steps, t.log_steps, t.sample_epochs]))\n"
        "drifting.train = train\n"
        "sys.argv[0] = 'train.py'\n"
        "runpy.run_path('train.py', run_name='__main__')\n"
    )
    given = ["--config", "configs/digits.py", "--config.train.sample_epochs=2.0"]
    for flags, wanted in (
        ([], ["runs/digits", 1500, 50, 2.0]),
        (["--debug"], ["runs/digits_debug", 200, 10, 2.0]),
        (["--debug", "--config.train.total_steps=30"], ["runs/digits_debug", 30, 10, 2.0]),
    ):
        command = [sys.executable, "-c", program, *given, *flags]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        assert json.loads(done.stdout) == wanted
