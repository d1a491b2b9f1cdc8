"""The configs of this project: every one builds, with the values of what it is named after."""

import importlib
import math
import pathlib

import facts
import jax
import pytest

from configs import (
    cifar10,
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
