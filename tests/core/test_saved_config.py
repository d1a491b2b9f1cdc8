"""A config.json of another version or a damaged one is one line, and what it lacks is filled in."""

import json

import pytest

import drifting
from configs import classifier_digits, digits
from drifting.core import config as config_lib
from drifting.core.errors import ConfigError
from drifting.core.facts import DataFacts
from drifting.runs.build import build


@pytest.fixture
def saved(tmp_path):
    """saved(change, config) -> path of a config.json after change(its values)."""

    def write(change, config=None):
        path = tmp_path / "config.json"
        config_lib.write(path, config or digits.get_config(), {})
        values = json.loads(path.read_text())
        path.write_text(json.dumps(change(values) or values))
        return path

    return write


@pytest.mark.parametrize("module", [digits, classifier_digits])
def test_a_saved_config_is_read_as_it_was(saved, module):
    config = config_lib.resolve(module.get_config())
    read, _ = config_lib.read_complete(saved(lambda values: None, config))
    assert config_lib.flatten(read) == config_lib.flatten(config)


def test_keys_that_an_older_run_lacks_get_their_defaults(saved):
    def change(values):
        del values["config"]["eval"], values["config"]["method"]["queue_push"]
        values["config"]["method"]["retired"] = 1

    config, _ = config_lib.read_complete(saved(change))
    assert config.eval.to_dict() == drifting.of("drifting").eval.to_dict()
    assert config.method.queue_push == 64 and config.method.retired == 1


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("method.name", "drift", "'drift' is not one of"),
        ("model.name", "drift_dit2", "drift_dit2"),
        ("optimizer.name", "lion", "config.optimizer.name = 'lion' is not one of"),
        ("optimizer.learning_rate", "fast", "fit"),
        ("optimizer.clip_norm", None, "config.optimizer.clip_norm cannot be None"),
        ("train.steps_per_epoch", None, "config.train.steps_per_epoch cannot be None"),
        ("data.image_skze", 8, "unknown key config.data.image_skze; did you mean 'image_size'"),
        ("model.num_registers", -1, "config.model.num_registers = -1 is negative"),
        ("seed", "x", "fit"),
        ("train", 3, "fit"),
        ("precision", "float16", "config.precision = 'float16' is not one of"),
        ("ema_decay", 2.0, "config.ema_decay = 2.0 is not in"),
        ("optimizer.learning_rate", float("inf"), "learning_rate = inf is not a finite number"),
    ],
)
def test_values_of_another_version_are_named(saved, key, value, message):
    def change(values):
        *place, last = key.split(".")
        section = values["config"]
        for name in place:
            section = section[name]
        section[last] = value

    path = saved(change)
    with pytest.raises(ConfigError, match=message) as error:
        config_lib.read_complete(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "content", [b"\xff", b"[]", b'{"config": 3}', b'{"config": {"method": []}}', b"[" * 100_000]
)
def test_a_damaged_file_is_named(tmp_path, content):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    for read in (config_lib.read, config_lib.read_complete):
        with pytest.raises(ConfigError, match=f"{path} is damaged"):
            read(path)
    assert path.read_bytes() == content


def test_an_unreadable_file_is_named(tmp_path):
    (tmp_path / "config.json").mkdir()
    with pytest.raises(ConfigError, match="cannot read .*config.json: Is a directory"):
        config_lib.read(tmp_path / "config.json")


@pytest.mark.parametrize(
    "key,value",
    [
        ("num_samples", "x"),
        ("space.shape", "x"),
        ("space.shape", [8, 0, 1]),
        ("space.shape", []),
        ("class_counts", [180] * 9),
        ("class_counts", ["180"] * 10),
        ("mean", [None]),
        ("class_names", [1] * 10),
    ],
)
def test_facts_of_other_types_are_refused(key, value):
    values = json.loads(json.dumps(_facts(), default=list))
    DataFacts.from_json(values)
    section = values["space"] if key.startswith("space") else values
    section[key.rpartition(".")[2]] = value
    with pytest.raises((KeyError, TypeError, ValueError)):
        DataFacts.from_json(values)


def _facts():
    return build(digits.get_config()).facts.to_json()


# --- values of a config that is trained ----------------------------------------------------------


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("precision", "float16", "config.precision = 'float16' is not one of"),
        ("optimizer.learning_rate", float("nan"), "config.optimizer.learning_rate = nan is not"),
        ("method.temperatures", (float("inf"),), "config.method.temperatures = .inf. is not"),
        ("train.total_steps", 0, "config.train.total_steps = 0 is less than one step"),
        ("train.total_steps", 2**31, "config.train.total_steps = 2147483648 is not at most"),
        ("train.keep_checkpoints", 0, "config.train.keep_checkpoints = 0 is less than 1"),
        ("train.keep_every_steps", -1, "config.train.keep_every_steps = -1 is less than 0"),
        ("train.steps_per_epoch", -1, "config.train.steps_per_epoch = -1 is negative"),
        ("method.num_generated", 0, "config.method.num_generated = 0 is less than 1"),
        ("method.num_positives", 0, "config.method.num_positives = 0 is less than 1"),
        ("method.num_unconditional", -1, "config.method.num_unconditional = -1 is less than 0"),
        ("eval.batch_size", 0, "batch_size.* = 0"),
    ],
)
def test_values_that_no_run_can_have_name_their_key(key, value, message):
    config = digits.get_config()
    config.update_from_flattened_dict({key: value})
    with pytest.raises(ConfigError, match=message):
        build(config)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
def test_durations_that_are_no_durations(value):
    config = digits.get_config()
    config.train.total_steps, config.train.total_epochs = None, value
    with pytest.raises(ConfigError, match=f"config.train.total_epochs = {value} is"):
        build(config)
