"""Networks by name: what a config can set, and what is refused."""

import dataclasses
import subprocess
import sys
import typing

import pytest

from drifting.core.errors import ConfigError
from models import dit, registry
from models.mae_resnet import MaskedAutoencoder

IMAGE = (8, 8, 1)
CLASSIFIER = dict(norm="batch", width=1.0, stem=None)
KEYS = {
    "drift_dit": dict(size="tiny", patch_size=4, num_registers=8),
    "drift_dit_latent": dict(size="B", patch_size=2, num_class_tokens=16, remat=False),
    "mlp": dict(width=256, depth=4, frequencies=2),
    "cnn": dict(width=64, depth=4),
    "unet": dict(size="ncsnpp", dropout=0.0, remat=False),
    "film_unet": dict(size="film", dropout=0.0, remat=False),
    "dit": dict(
        size="B", patch_size=2, position="sincos", time_planes=False, shared_time=False, remat=False
    ),
    "mobilenetv2": CLASSIFIER,
    "resnet18": CLASSIFIER,
    "resnet50": CLASSIFIER,
    "convnext_tiny": CLASSIFIER,
    "mae_resnet": dict(size="mae_resnet"),
    "autoencoder_kl": dict(
        widths=(64, 128, 128),
        blocks_per_level=1,
        extra_decoder_blocks=0,
        attention_resolutions=(),
        mltools_attention=False,
        middle_attention=True,
        num_heads=4,
        latent_channels=4,
        inner_channels=4,
        norm_groups=8,
        kernel=3,
        activation="gelu",
        downsampling="conv2x2",
        upsampling="transposed",
        logvar=False,
        unused_resampling=False,
    ),
    "resnet_generator": dict(
        width=64,
        blocks=9,
        resampling="antialias",
        self_attention=False,
        channel_attention=False,
        style_gates=False,
        initializer="xavier",
    ),
}


def test_importing_it_imports_no_network():
    code = "import sys; from models import registry; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_families():
    assert tuple(KEYS) == registry.NAMES
    assert registry.names("encoder") == ("mae_resnet",)
    assert registry.names("translator") == ("resnet_generator",)
    assert {registry.family(name) for name in registry.names("classifier")} == {"classifier"}
    families = ("generator", "classifier", "encoder", "autoencoder", "translator")
    assert sum((registry.names(family) for family in families), ()) == registry.NAMES


@pytest.mark.parametrize("name", KEYS)
def test_settings_are_the_keys_of_a_config(name):
    settings = registry.settings(name)
    assert registry.settings(name) is settings
    values = dataclasses.asdict(settings())
    assert list(values.items()) == list(KEYS[name].items())
    for field in dataclasses.fields(settings):
        kind = tuple if typing.get_origin(field.type) is tuple else field.type
        assert isinstance(values[field.name], kind)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(settings(), next(iter(values)), None)


@pytest.mark.parametrize("name", KEYS)
def test_a_network_of_settings_alone(name):
    shape = (2,) if name == "mlp" else (32, 32, 3)
    network = registry.create(name, KEYS[name], shape, 10)
    assert getattr(network, "num_classes", 10) == 10  # an autoencoder reads no labels
    assert network.dtype == "float32"
    preset = registry.sizes(name).get(KEYS[name].get("size"), {})
    assert {key: getattr(network, key) for key in preset} == preset


def test_the_data_gives_what_the_network_must_know_of_it():
    assert registry.create("mae_resnet", dict(size="mae_nano"), (8, 8, 4), 10).channels == 4
    stems = {
        size: registry.create("resnet18", {}, (size, size, 3), 10).stem for size in (32, 64, 224)
    }
    assert stems == {32: "small", 64: "medium", 224: "imagenet"}


def test_a_size_is_a_preset_and_the_other_values_override_it():
    network = registry.create("dit", dict(size="B", depth=2, patch_size=4), (32, 32, 4), 1000)
    expected = dit.SIZES["B"] | dict(depth=2, patch_size=4, num_classes=1000)
    assert {k: getattr(network, k) for k in expected} == expected


def test_without_a_size_there_is_the_usual_one():
    assert registry.create("mae_resnet", {}, (8, 8, 1), 10) == MaskedAutoencoder(
        10, 1, base_channels=64, dtype=registry.create("mlp", {}, (2,), 0).dtype
    )


def test_a_config_read_back_from_json_gives_the_same_network():
    common = dict(size="nano", model_channels=8, attention_resolutions=(), num_blocks=1)
    given = [
        registry.create("unet", dict(common, channel_mult=m), IMAGE, 0) for m in ((1, 1), [1, 1])
    ]
    assert given[0] == given[1] and hash(given[0]) == hash(given[1])


@pytest.mark.parametrize(
    "name,values,shape,message",
    [
        ("dot", {}, IMAGE, "config.model.name = 'dot' .*'mlp'.* did you mean 'dit'"),
        ("dit", dict(size="XXL"), IMAGE, "config.model.size = 'XXL' .* did you mean 'XL'"),
        ("cnn", dict(size="S"), IMAGE, "config.model.size is not an attribute of cnn, which has d"),
        ("dit", dict(patch=2), IMAGE, "model.patch is .* did you mean 'config.model.patch_size'"),
        ("mlp", dict(dtype="float32"), (2,), "config.model.dtype is not an attribute of mlp"),
        ("dit", dict(fused_attention=True), IMAGE, "model.fused_attention is not an attribute"),
        ("resnet18", dict(blocks=(1,)), IMAGE, "blocks is not an attribute of resnet18, which has"),
        ("mlp", {}, IMAGE, "'mlp' takes samples of 1 axes, not .8, 8, 1.; .*cnn.*dit"),
        ("cnn", {}, (2,), "'cnn' takes samples of 3 axes, not .2,.; networks that take these: mlp"),
        ("resnet18", {}, (2,), "'resnet18' takes .* networks that take these: none"),
        ("resnet18", dict(norm="layer"), IMAGE, "config.model.norm = 'layer' is not one of"),
        ("resnet18", dict(stem="smal"), IMAGE, "config.model.stem .* did you mean 'small'"),
        ("resnet18", dict(width=0.3), IMAGE, "config.model: width 0.3 turns 64 channels into 19.2"),
        ("dit", dict(position="rotary"), IMAGE, "config.model: position 'rotary' is not one of"),
        ("dit", dict(num_heads=5), IMAGE, "config.model: 5 heads do not divide a width of 768"),
        ("unet", dict(size="nano"), (9, 9, 1), "config.model: 3 levels do not halve an image"),
        ("mae_resnet", dict(activation="silu"), IMAGE, "config.model: unknown activation 'silu'"),
    ],
)
def test_what_there_is_not_is_refused_with_the_nearest(name, values, shape, message):
    with pytest.raises(ConfigError, match=message):
        registry.create(name, values, shape, 10)


@pytest.mark.parametrize(
    "name,key,patch",
    [
        ("drift_dit", "patch_size", 3),
        ("dit", "patch_size", 0),
        ("mae_resnet", "input_patch_size", 3),
    ],
)
def test_patches_that_do_not_divide_the_image_are_refused(name, key, patch):
    message = f"config.model.{key} = {patch} does not divide config.data.image_size = 8"
    with pytest.raises(ConfigError, match=message):
        registry.create(name, {key: patch}, IMAGE, 10)


def test_a_network_has_to_read_what_is_needed():
    network = registry.create("cnn", dict(width=8), IMAGE, 10)
    registry.require("cnn", network, {})
    registry.require("cnn", network, {"label": "config.method.class_conditional = True"})
    needed = {"time": "config.method.times", "guidance": "config.method.form = 'distance'"}
    message = (
        "config.model.name = 'cnn' reads interval, label, time, but config.method.form "
        "= 'distance' needs guidance; networks that read it: drift_dit, unet, dit"
    )
    with pytest.raises(ConfigError) as error:
        registry.require("cnn", network, needed)
    assert str(error.value) == message
    points = registry.create("mlp", {}, (2,), 0)
    with pytest.raises(ConfigError, match="'mlp' .* needs style; networks that read it: none"):
        registry.require("mlp", points, {"style": "config.method.style"})
