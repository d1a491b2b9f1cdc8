"""Values that no step can use are refused before data are read, and name their key."""

import json
import types

import pytest

import drifting
from drifting.core import config as config_lib
from drifting.core.errors import ConfigError
from drifting.runs.workdir import Run, WorkdirError


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("precision", "float16", "config.precision = 'float16' is not one of"),
        ("eval.batch_size", 0, r"config.eval.batch_size \(--batch_size\) = 0: must be 1 or more"),
        (
            "eval.num_samples",
            1,
            r"config.eval.num_samples \(--num_samples\) = 1: a score needs two",
        ),
        ("eval.seed", -1, "config.eval.seed .* = -1: must be at least 0"),
        ("eval.cfg_scale", float("nan"), "config.eval.cfg_scale.* = nan.* a finite number"),
        ("data.limit", -1, "config.data.limit = -1 is negative; set 0 for all"),
    ],
)
@pytest.mark.parametrize("method", ["autoencoder", "classifier", "meanflow"])
def test_a_config_is_refused(method, key, value, message):
    config = drifting.of(method)
    config.data.source = "npz:nowhere.npz"
    config.update_from_flattened_dict({key: value})
    with pytest.raises(ConfigError, match=message):
        drifting.build(config)


def test_a_limit_of_a_stream_is_refused():
    config = drifting.of("meanflow")
    config.data.update(source="npy:nowhere", streaming=True, limit=9)
    with pytest.raises(ConfigError, match="limit = 9, but the classes of a stream .*streaming=F"):
        drifting.build(config)


def test_a_saved_config_is_refused(tmp_path):
    values = drifting.of("meanflow").to_dict() | {"precision": "float16"}
    (tmp_path / "config.json").write_text(json.dumps({"config": values}))
    with pytest.raises(ConfigError, match=r"config\.json: config\.precision = 'float16' is not"):
        config_lib.read(tmp_path / "config.json")


def test_samples_are_made_in_batches_of_one_or_more():
    run = types.SimpleNamespace(
        require_generator=lambda: None,
        facts=types.SimpleNamespace(num_classes=1, space=None),
        config=drifting.of("meanflow"),
        program=lambda *_: None,
        last=(None, 4),
        at=lambda step: run,
    )
    with pytest.raises(WorkdirError, match=r"a batch size of 0 \(config.eval.batch_size, --batch_"):
        Run.sample(run, [0], batch_size=0)
