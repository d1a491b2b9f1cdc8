"""Suites of generators before anything runs: reading, errors and dry runs."""

import pathlib
import re
import subprocess
import sys

import pytest
from score_suite import BUDGET, ENCODER, RUNS

from drifting import suites
from drifting.core import config as config_lib
from drifting.suites import SuiteError, read_plan

ROOT = pathlib.Path(__file__).resolve().parents[2]
LDF = ROOT / "configs/suites/ldf.py"


def changed_run(name, **overrides):
    config, own = RUNS[name]
    return {"runs": RUNS | {name: (config, own | overrides)}}


@pytest.mark.parametrize(
    "changed,message",
    [
        ({"runs": {}}, "'runs' has to be a list of at least one RunSpec"),
        ({"runs": {"logs": RUNS["ldf"]}}, "a run cannot be called 'logs'"),
        ({"runs": {"a b": RUNS["ldf"]}}, "a run cannot be called 'a b': use letters"),
        ({"runs": {"encoder": RUNS["ldf"]}, "encoder": ENCODER}, "two runs are called 'encoder'"),
        ({"runs": {"a": ("configs/digit.py", {})}}, "is 'configs/digit.py', which does not exist"),
        ({"runs": {"a": (None, {})}}, "the config of 'a' is None"),
        (
            {"budget": BUDGET | {"train.total_stps": 3}},
            "unknown key 'train.total_stps' of the run 'kernel'; did you mean 'train.total_steps'?",
        ),
        ({"budget": BUDGET | {"ema_decay": "much"}}, "the run 'kernel': Could not over"),
        ({"budget": BUDGET | {"method.encoder": None}}, "None, which no flag can set"),
        (
            {"budget": BUDGET | {"train.keep_every_steps": 0}},
            "'kernel' may delete checkpoints before they are scored; set train.keep_every_steps to",
        ),
        (
            {"budget": BUDGET | {"train.keep_every_steps": 20}},
            "'kernel' may delete checkpoints before they are scored",
        ),
        (
            changed_run("ldf", **{"train.total_steps": 30}),
            "train.total_steps is 20 in 'kernel' but 30 in 'ldf'",
        ),
        (
            {"budget": {"train.total_epochs": 1.0}},
            "'kernel' needs train.total_steps and train.checkpoint_steps",
        ),
        ({"encoder": "configs/nothing.py"}, "the config of 'encoder' is"),
        ({"encoder": "configs/digits.py:what"}, "configs/digits.py:what: ConfigError: "),
    ],
)
def test_bad_suites_are_refused(write, tmp_path, changed, message):
    with pytest.raises(SuiteError, match=re.escape(message)):
        suites.run(write(**changed), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_options_that_a_suite_cannot_meet_are_refused(write, tmp_path):
    with pytest.raises(SuiteError, match="no 'nano' budget; leave --nano out"):
        read_plan(write(), tmp_path, nano=True)
    with pytest.raises(SuiteError, match="no run waits for an 'encoder'; leave --encoder out"):
        read_plan(write(), tmp_path, encoder="runs/encoder")
    with pytest.raises(SuiteError, match="is 'accuracy', not 'scores'; leave --features out"):
        read_plan(ROOT / "configs/suites/stage1.py", tmp_path, features="inception")


@pytest.mark.parametrize("nano", [False, True])
def test_runs_of_the_learned_field_differ_in_what_their_names_say(nano, tmp_path):
    table = read_plan(LDF, tmp_path, nano).table
    assert all(config.is_locked for config in table.configs.values())
    flat = {run.name: config_lib.flatten(table.configs[run.name]) for run in table.runs}
    assert list(flat) == [
        "kernel", "kernel_no_encoder", "ldf", "ldf_no_proj", "ldf_setsize_small",
        "ldf_setsize_large", "ldf_frozen", "ldf_distill",
    ]  # fmt: skip
    small, large = (4, 16) if nano else (16, 64)
    differences = {
        "kernel": {"method.field": "kernel"},
        "kernel_no_encoder": {"method.field": "kernel", "method.encoder": None},
        "ldf": {},
        "ldf_no_proj": {"field.projection": 0},
        "ldf_setsize_small": {"method.num_generated": small, "method.num_positives": small},
        "ldf_setsize_large": {"method.num_generated": large, "method.num_positives": large},
        "ldf_frozen": {"field.objective": "frozen"},
        "ldf_distill": {"field.objective": "distill"},
    }
    for name, values in flat.items():
        ldf = flat["ldf"]
        assert {k: v for k, v in values.items() if v != ldf[k]} == differences[name], name
    encoder = str(tmp_path / "encoder")
    assert flat["ldf"]["method.encoder"] == encoder
    assert flat["ldf"]["eval.features"] == f"encoder:{encoder}"
    assert table.steps == list(range(0, 151, 30) if nano else range(0, 9751, 1950))
    sizes = (flat["ldf"]["model.size"], table.configs["encoder"].model.width)
    assert sizes == (("nano", 0.25) if nano else ("tiny", 1.0))


def test_the_script_says_mistakes_in_one_line(write, tmp_path):
    command = [sys.executable, ROOT / "scripts/run_suite.py", "--out", tmp_path / "out"]
    done = subprocess.run([*command, write(runs={})], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2
    assert re.fullmatch("error: .*toy_suite.py: 'runs' has to be a list.*\n", done.stderr)


def test_a_dry_run_only_tells(write, tmp_path, capsys):
    path = write(encoder=ENCODER)
    suites.run(path, tmp_path / "out", dry_run=True)
    assert not (tmp_path / "out").exists()
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0].split() for line in lines[:-1]] == [
        ["start", name] for name in ("encoder", *RUNS)
    ]
    assert " && " in lines[1] and "evaluate.py --workdir" in lines[1]


def test_reading_a_suite_takes_no_accelerator():
    """Reading a suite builds configs, which imports JAX but must not start a backend."""
    code = (
        "from drifting import suites; suites.read_plan('configs/suites/ldf.py', 'out')\n"
        "from jax._src import xla_bridge; assert not xla_bridge.backends_are_initialized()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
