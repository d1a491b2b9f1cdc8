"""Every config builds; durations convert in one place; keys that differ are named."""

import dataclasses
import importlib
import math
import pathlib

import facts
import jax
import pytest
from ml_collections import ConfigDict

from configs import (
    base,
    cifar10,
    digits,
    drifting_imagenet_latent,
    mae_imagenet_latent,
    meanflow_imagenet_latent,
)
from drifting import methods
from drifting.core import config as config_lib
from drifting.core import durations, optimizers
from drifting.core.errors import ConfigError
from input_pipeline import sources

ROOT = pathlib.Path(__file__).parent.parent.parent
NAMES = sorted({p.stem for p in (ROOT / "configs").glob("*.py")} - {"__init__", "base"})
VARIANTS = [f"meanflow_imagenet_latent:{v}" for v in meanflow_imagenet_latent.VARIANTS]
VARIANTS += ["cut_horse2zebra:fastcut"]
VARIANTS += [f"mae_imagenet_latent:{v}" for v in (*mae_imagenet_latent.VARIANTS, "nano")]
VARIANTS += [f"drifting_imagenet_latent:{v}" for v in (*drifting_imagenet_latent.VARIANTS, "nano")]
# What the bare names stand for.
FIRST = {"meanflow_imagenet_latent:b4", "mae_imagenet_latent:256", "drifting_imagenet_latent:b"}


def build(name, num_classes=10):
    """The config `name`, or `name:variant`, and its method; nothing is allocated."""
    name, *variant = name.split(":")
    config = importlib.import_module(f"configs.{name}").get_config(*variant)
    data = config.data
    num_classes = 2 if config.method.name == "cut" else num_classes  # its domains
    space = sources.space_of(data.source, data.image_size, data.channels)
    given = facts.make(space, num_classes, 45_000, streamed=config.data.streaming)
    return config, methods.create(config, given)


@pytest.mark.parametrize("name", NAMES + sorted({*VARIANTS} - FIRST))
def test_every_config_builds_its_method(name):
    config, method = build(name, num_classes=1000 if "imagenet" in name else 10)
    assert config.is_locked
    shapes = jax.eval_shape(method.init, jax.random.key(0))
    assert shapes.step.shape == ()
    for duration in durations.DURATIONS:
        assert durations.to_steps(config.train, duration, 320, 50_000) >= 1


ALIASES = {
    "digits_ldf": "digits:ldf",
    "flow_cifar10": "meanflow_cifar10:flow",
    "flow_toy2d": "meanflow_toy2d:flow",
} | {f"cifar10_{variant}": f"cifar10:{variant}" for variant in cifar10.VARIANTS}


def test_a_variant_has_the_same_values_under_both_of_its_names():
    for alias, name in ALIASES.items():
        module, variant = name.split(":")
        module = importlib.import_module(f"configs.{module}")
        assert alias in NAMES and variant in module.VARIANTS
        flat = config_lib.flatten(module.get_config(variant))
        assert flat == config_lib.flatten(importlib.import_module(f"configs.{alias}").get_config())
        assert flat != config_lib.flatten(module.get_config())


@pytest.mark.parametrize(
    "name", ["cifar10:shrt", "classifier_cifar100:resnet19", "mae_cifar10:mae_nan", "digits:lfd",
             "cifar10_features_nano:pixel", "meanflow_imagenet_latent:xl",
             "mae_imagenet_latent:64", "drifting_imagenet_latent:b_sot"],
)  # fmt: skip
def test_an_unknown_variant_is_refused_with_the_nearest_one(name):
    module, variant = name.split(":")
    with pytest.raises(ConfigError, match=f"variant '{variant}'.*known variants: .*did you mean"):
        importlib.import_module(f"configs.{module}").get_config(variant)


def test_values_of_the_drifting_runs():
    for name, warmup, steps in (
        ("mnist", 1000, None),
        ("cifar10", 2000, 78_000),
        ("cifar10_short", 500, 9_750),
    ):
        config = importlib.import_module(f"configs.{name}").get_config()
        o, m = config.optimizer, config.method
        assert (o.learning_rate, o.weight_decay, o.clip_norm) == (2e-4, 0.01, 2.0)
        assert (o.beta1, o.beta2, o.warmup_steps) == (0.9, 0.95, warmup)
        assert (m.num_generated, m.num_positives) == (32, 32)
        assert (m.cfg_min, m.cfg_max, m.cfg_power, m.cfg_share_at_one) == (1, 4, 3, 0)
        assert (m.label_dropout, config.ema_decay) == (None, 0.999)
        if steps:
            assert durations.to_steps(config.train, "total", 320, 50_000) == steps


def test_values_of_the_meanflow_releases():
    config, method = build("meanflow_cifar10")
    m, o = config.method, config.optimizer
    assert (m.times, m.times_mean, m.times_std) == ("logit_normal", -2.0, 2.0)
    assert (m.share_r_neq_t, m.norm_power, m.batch_size) == (0.75, 0.75, 1024)
    assert (o.learning_rate, o.beta1, o.beta2, o.weight_decay) == (6e-4, 0.9, 0.999, 0.0)
    assert method.parts == (768, 256)
    assert _parameters(method) == 55_929_347
    for name, guidance in (("b4", (1.0, 0.5, 1.0)), ("xl2", (0.2, 0.92, 0.75))):
        config, method = build(f"meanflow_imagenet_latent:{name}")
        m = config.method
        assert (m.times, m.times_mean, m.times_std) == ("logit_normal", -0.4, 1.0)
        assert (m.share_r_neq_t, m.norm_power) == (0.25, 1.0)
        assert (m.guidance_omega, m.guidance_kappa, m.guidance_end) == guidance
        assert method.parts == (64, 192)


def test_values_of_the_latent_autoencoders_of_the_drifting_release():
    for width, parameters, steps, weight, last in (
        ("256", 431_354_348, 30_000, 0.0, 0),
        ("640", 2_687_866_604, 200_000, 0.1, 3000),
    ):
        config, method = build(f"mae_imagenet_latent:{width}", num_classes=1000)
        m, o = config.method, config.optimizer
        assert _parameters(method) == parameters
        assert (method.space.shape, method.space.kind) == ((32, 32, 4), "latents")
        assert (m.batch_size, m.mask_patch, m.mask_ratio_min, m.mask_ratio_max) == (
            8192,
            2,
            0.5,
            0.5,
        )
        assert (o.learning_rate, o.weight_decay, o.beta1, o.beta2) == (4e-3, 0.01, 0.9, 0.95)
        assert (o.warmup_steps, o.schedule, o.clip_norm) == (4000, "constant", 2.0)
        assert (config.ema_decay, config.precision) == (0.9995, "bfloat16")
        assert (m.classification_weight, m.classification_last_steps) == (weight, last)
        assert (m.classification_warmup_steps, method.total_steps) == (1000, steps)


# Labels, negatives, images pushed by all hosts, power and share at one of the guidance scales.
LATENT_RUNS = {
    "b": ((132_709_648, 64, 16, 1024, 3.0, 0.0), (2e-4, 5000, 0.01, 30_000)),
    "b_sota": ((132_709_648, 128, 32, 4096, 5.0, 0.0), (4e-4, 10_000, 0.0, 200_000)),
    "l": ((462_910_480, 128, 32, 2048, 3.0, 0.5), (4e-4, 10_000, 0.01, 200_000)),
}


@pytest.mark.parametrize("variant", LATENT_RUNS)
def test_values_of_the_latent_generators_of_the_drifting_release(variant):
    config, method = build(f"drifting_imagenet_latent:{variant}", num_classes=1000)
    m, o = config.method, config.optimizer
    drawn, optimized = LATENT_RUNS[variant]
    assert drawn == (
        _parameters(method), m.classes_per_step, m.num_unconditional, m.queue_push, m.cfg_power,
        m.cfg_share_at_one,
    )  # fmt: skip
    steps = config.train.total_steps
    assert optimized == (o.learning_rate, o.warmup_steps, o.weight_decay, steps)
    assert (m.num_generated, m.num_positives, m.cfg_min, m.cfg_max) == (64, 64, 1.0, 4.0)
    assert (m.queue_size, m.queue_unconditional) == (128, 1000)
    assert (o.beta1, o.beta2, o.clip_norm, o.schedule) == (0.9, 0.95, 2.0, "constant")
    assert (config.ema_decay, config.precision) == (0.999, "bfloat16")
    assert (m.encoder_features, m.encoder_every_block) == ("locations", 2)
    assert m.temperatures == (0.02, 0.05, 0.2)
    state = jax.eval_shape(method.init, jax.random.key(0))
    assert state.extra["queue"].images.shape == (1000, 128, 32, 32, 4)
    assert state.extra["unconditional"].images.shape == (1, 1000, 32, 32, 4)


def test_the_faces_are_streamed_at_64_pixels():
    config, method = build("meanflow_celeba")
    assert config.data.source.startswith("folder:") and config.data.streaming
    state = jax.eval_shape(method.init, jax.random.key(0))
    labels = jax.ShapeDtypeStruct((2,), "int32")
    samples = jax.eval_shape(method.sample, state, jax.random.key(1), labels)
    assert samples.shape == (2, 64, 64, 3)
    assert method.parts == (192, 64)


def test_classifiers_warm_up_for_whole_epochs_of_their_batches():
    for name, batch, images, epochs in (
        ("classifier_cifar10", 256, 45_000, 5),
        ("classifier_cifar100:resnet50", 256, 45_000, 5),
        ("classifier_cifar10:resnet18_nano", 64, 45_000, 1),
        ("classifier_tiny_imagenet", 256, 90_000, 5),
    ):
        module, *variant = name.split(":")
        config = importlib.import_module(f"configs.{module}").get_config(*variant)
        assert config.method.batch_size == batch
        assert config.optimizer.warmup_steps == round(epochs * images / batch)


def test_the_classifiers_of_the_suites_have_the_published_recipe():
    """Batch 256, SGD at 0.1 with Nesterov momentum 0.9 and decay 1e-4; crops of padded images."""
    for name, epochs, padding in (
        ("classifier_cifar10:resnet50", 200, 4),
        ("classifier_cifar100:mobilenetv2", 200, 4),
        ("classifier_tiny_imagenet:convnext_tiny", 100, 8),
    ):
        module, variant = name.split(":")
        config = importlib.import_module(f"configs.{module}").get_config(variant)
        sgd = config.optimizer
        assert (sgd.learning_rate, sgd.momentum, sgd.weight_decay) == (0.1, 0.9, 1e-4)
        assert (sgd.name, sgd.schedule, sgd.clip_norm) == ("sgd", "cosine", 0.0)
        assert (config.method.batch_size, config.method.crop_padding) == (256, padding)
        assert (config.method.label_smoothing, config.data.flip) == (0.0, True)
        assert (config.train.total_epochs, config.train.checkpoint_epochs) == (epochs, 1)


def _parameters(method):
    params = jax.eval_shape(method.init, jax.random.key(0)).params
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


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


def test_cut_and_fastcut_have_the_values_of_the_release():
    """github.com/taesungp/contrastive-unpaired-translation: options/, models/cut_model.py."""
    (cut, method), (fast, _) = build("cut_horse2zebra"), build("cut_horse2zebra:fastcut")
    assert (cut.method.loss, cut.method.batch_size, cut.method.num_patches) == ("lsgan", 1, 256)
    assert (cut.method.nce_weight, cut.method.nce_idt, cut.method.temperature) == (1.0, True, 0.07)
    assert (fast.method.nce_weight, fast.method.nce_idt) == (10.0, False)
    assert (cut.method.flip_equivariance, fast.method.flip_equivariance) == (False, True)
    for config, epochs, falling in ((cut, 400, 200), (fast, 200, 50)):
        steps = durations.to_steps(config.train, "total", 2, 1067 + 1334)
        assert steps == epochs * 1334
        for section in (config.optimizer, config.discriminator_optimizer):
            assert (section.beta1, section.beta2, section.weight_decay) == (0.5, 0.999, 0.0)
            assert (section.clip_norm, section.warmup_steps) == (0.0, 0)
            rates = optimizers.learning_rates(section, steps)
            at = [(epochs - falling) * 1334, (epochs - falling / 2) * 1334, steps]
            assert [float(rates(step)) for step in at] == pytest.approx([2e-4, 1e-4, 0.0])
    shapes = jax.eval_shape(method.init, jax.random.key(0))
    assert not shapes.ema_params
