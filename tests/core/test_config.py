"""Configs: durations convert in one place, keys that differ are named, older ones are read."""

import dataclasses

import pytest
from ml_collections import ConfigDict

from configs import (
    base,
    digits,
)
from drifting.core import config as config_lib
from drifting.core import durations
from drifting.core.errors import ConfigError


def test_an_unknown_key_names_the_nearest():
    config = base.of("drifting")
    with pytest.raises(AttributeError, match="total_steps"):
        config.train.total_stps = 3
    with pytest.raises(KeyError, match="temperatures"):
        config.method.update({"temperatres": (0.1,)})


@pytest.mark.parametrize(
    "unit,value,steps", [("steps", 7, 7), ("epochs", 2.5, 500), ("examples", 640, 2)]
)
def test_durations_in_any_unit(unit, value, steps):
    train = base.of("drifting").train
    train.total_steps = None
    train[f"total_{unit}"] = value
    assert durations.to_steps(train, "total", 320, 64_000) == steps


def test_an_epoch_may_be_given_in_steps():
    train = base.of("drifting").train
    train.total_steps, train.total_epochs, train.steps_per_epoch = None, 2.0, 195
    assert durations.to_steps(train, "total", 320, 50_000) == 390


def test_invalid_durations_are_refused():
    train = base.of("drifting").train
    train.total_epochs = 2.0
    with pytest.raises(ConfigError, match="exactly one of config.train.total_steps"):
        durations.to_steps(train, "total", 320, 50_000)
    train.total_steps = None
    train.total_epochs = 1e-9
    with pytest.raises(ConfigError, match="less than one step"):
        durations.to_steps(train, "total", 320, 50_000)


def test_a_unit_on_the_command_line_replaces_the_files():
    config = digits.get_config()
    config.train.total_epochs = 3.0
    durations.choose_units(config, {"train.total_epochs": 3.0})
    assert config.train.total_steps is None
    assert durations.to_steps(config.train, "total", 100, 1000) == 30


def test_json_and_back(tmp_path):
    config = digits.get_config()
    config_lib.write(tmp_path / "config.json", config, {"git_commit": None})
    saved, given = config_lib.read(tmp_path / "config.json")
    assert given == {"git_commit": None}
    assert config_lib.flatten(saved) == config_lib.flatten(config)
    assert config_lib.check_resume(saved, config) == []


def test_a_damaged_or_missing_config(tmp_path):
    with pytest.raises(ConfigError, match="not the workdir of a run"):
        config_lib.read(tmp_path / "config.json")
    (tmp_path / "config.json").write_text('{"config": ')
    with pytest.raises(ConfigError, match="damaged"):
        config_lib.read(tmp_path / "config.json")


def test_what_may_change_between_runs():
    saved, config = digits.get_config(), digits.get_config()
    assert config_lib.check_resume(saved, config) == []
    config.train.total_steps = 9
    config.optimizer.learning_rate = 1.0
    assert config_lib.check_resume(saved, config) == [
        "config.optimizer.learning_rate: 0.002 -> 1.0",
        "config.train.total_steps: 1500 -> 9",
    ]
    config.data.read_threads = 2  # changes nothing
    assert len(config_lib.check_resume(saved, config)) == 3
    config.model.size, config.data.image_size = "tiny", 16
    with pytest.raises(ConfigError) as error:
        config_lib.check_resume(saved, config)
    assert "config.model.size: 'nano' -> 'tiny'" in str(error.value)
    assert "config.data.image_size: 8 -> 16" in str(error.value)


@pytest.mark.parametrize("before, now", [(0.999, 0.0), (0.0, 0.999)])
def test_an_average_is_neither_started_nor_dropped_on_resume(before, now):
    saved, config = digits.get_config(), digits.get_config()
    saved.ema_decay, config.ema_decay = before, now
    with pytest.raises(ConfigError, match=f"config.ema_decay: {before} -> {now}"):
        config_lib.check_resume(saved, config)


def test_a_run_from_before_a_key_was_added_resumes():
    config = digits.get_config()
    saved = ConfigDict(config.to_dict())
    del saved.data["streaming"], saved.method["queue_push"]
    saved.model["retired"] = 1
    assert config_lib.check_resume(saved, config) == []


def test_a_renamed_key_of_an_older_run_is_read(tmp_path):
    config = digits.get_config()
    older = config.to_dict()
    older["method"]["normalization"] = older["method"].pop("form").replace("distance", "sphere")
    config_lib.write(tmp_path / "config.json", ConfigDict(older), {})
    saved, _ = config_lib.read(tmp_path / "config.json")
    assert saved.method.form == "sphere" and "normalization" not in saved.method
    changes = ["config.method.form: 'sphere' -> 'distance'"]
    assert config_lib.check_resume(saved, config) == changes


def test_flatten_of_nested_values():
    flat = config_lib.flatten(ConfigDict({"a": {"b": (1, 2)}, "c": None}))
    assert flat == {"a.b": [1, 2], "c": None}


# --- sections from dataclasses -------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Keys:
    size: int = 3
    rate: float = 0.5
    place: str | None = None
    taps: tuple[float, ...] = (1.0, 2.0)


def test_a_section_is_typed_and_some_values_may_be_none():
    section = config_lib.section(Keys(), "some").lock()
    assert section.to_dict() == {"name": "some", "size": 3, "rate": 0.5, "place": None,
                                 "taps": (1.0, 2.0)}  # fmt: skip
    section.place, section.rate = "here", 1
    section.place = None
    with pytest.raises(TypeError):
        section.size = "three"
    with pytest.raises(AttributeError, match="taps"):
        section.tapz = ()


def test_a_section_read_back_is_its_dataclass():
    from_json = ConfigDict(
        {"name": "some", "taps": [3.0], "place": "here"}
    )  # size and rate are newer
    assert config_lib.typed(Keys, from_json, "keys") == Keys(place="here", taps=(3.0,))
    with pytest.raises(ConfigError, match=r"unknown key config.keys.plaec; did you mean 'place'"):
        config_lib.typed(Keys, {"plaec": "there"}, "keys")
    with pytest.raises(ConfigError, match="config.keys.size cannot be None"):
        config_lib.typed(Keys, {"size": None}, "keys")


def test_a_method_brings_its_sections_and_defaults():
    config = config_lib.of("drifting")
    assert (config.method.name, config.model.name, config.field.steps) == (
        "drifting", "drift_dit", 1
    )  # fmt: skip
    assert config.field_optimizer.learning_rate == 1e-3
    config = config_lib.of("classifier", "convnext_tiny")
    assert (config.optimizer.name, config.ema_decay, config.data.num_val) == ("sgd", 0.0, 5000)
    assert config.model.name == "convnext_tiny" and "field" not in config
    assert config_lib.of("meanflow", "mlp").eval.cfg_scale == 1.0
    for wrong, near in ((("meanflw",), "meanflow"), (("meanflow", "dti"), "dit")):
        with pytest.raises(ConfigError, match=f"did you mean '{near}'"):
            config_lib.of(*wrong)


@pytest.mark.parametrize(
    "changed, message",
    [({"precision": "bfloat61"}, "precision = 'bfloat61'.*did you mean 'bfloat16'"),
     ({"ema_decay": 1.0}, r"ema_decay = 1.0 is not in \[0, 1\)")],
)  # fmt: skip
def test_keys_outside_sections_are_checked_too(changed, message):
    config = digits.get_config()
    config.update(changed)
    with pytest.raises(ConfigError, match=message):
        config_lib.resolve(config)


def test_another_network_or_optimiser_by_name_alone():
    config = digits.get_config()
    config.model.name, config.optimizer.name = "dit", "sgd"
    resolved = config_lib.resolve(config)
    assert resolved.model.to_dict() == {
        "name": "dit", "size": "nano", "patch_size": 4, "position": "sincos",
        "time_planes": False, "shared_time": False, "remat": False,
    }  # fmt: skip
    assert (resolved.optimizer.momentum, resolved.optimizer.learning_rate) == (0.9, 2e-3)
    assert resolved.is_locked and "num_registers" in config.model, "the config given stays"
    config.model.name = "unte"
    with pytest.raises(ConfigError, match=r"config.model.name = 'unte' .*did you mean 'unet'"):
        config_lib.resolve(config)
    large = base.of("drifting")  # its size, tiny, is not one of the U-Net's
    large.model.name = "unet"
    assert config_lib.resolve(large).model.size == "ncsnpp"
