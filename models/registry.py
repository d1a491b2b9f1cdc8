"""Networks by name; the only place that knows them all.

A new network is a file and a line here. Its module is imported only when the network is used.
"""

import functools
import importlib
import inspect
from collections.abc import Mapping
from dataclasses import field, make_dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from drifting.core.errors import ConfigError, did_you_mean, one_of

if TYPE_CHECKING:
    from flax import linen as nn

    from models.conditions import GeneratorNetwork


class Entry(NamedTuple):
    """A line of the registry.

    Attributes:
      family: the purpose: 'generator' (models/conditions.py), 'classifier', 'encoder',
        'autoencoder' or 'translator' (of images to images).
      builder: the module, and in it the class, or the function of a network's name, that builds the
        network. Its parameters are the network's attributes, documented there with their defaults.
      keys: the attributes that a config sets.
      size: the default preset of the attributes; None if there are no presets.
    """

    family: str
    builder: str
    keys: tuple[str, ...]
    size: str | None = None


_UNET = ("dropout", "remat")
_DIT = ("patch_size", "position", "time_planes", "shared_time", "remat")
_CLASSIFIER = ("norm", "width", "stem")
_AUTOENCODER = (
    "widths", "blocks_per_level", "extra_decoder_blocks", "attention_resolutions",
    "mltools_attention", "middle_attention", "num_heads", "latent_channels", "inner_channels",
    "norm_groups", "kernel", "activation", "downsampling", "upsampling", "logvar",
    "unused_resampling",
)  # fmt: skip
_RESNET_GENERATOR = (
    "width", "blocks", "resampling", "self_attention", "channel_attention", "style_gates",
    "initializer",
)  # fmt: skip

NETWORKS = {
    "drift_dit": Entry(
        "generator", "models.drift_dit:DriftDiT", ("patch_size", "num_registers"), "tiny"
    ),
    "drift_dit_latent": Entry(
        "generator",
        "models.drift_dit_latent:DriftDiTLatent",
        ("patch_size", "num_class_tokens", "remat"),
        "B",
    ),
    "mlp": Entry("generator", "models.mlp:MLP", ("width", "depth", "frequencies")),
    "cnn": Entry("generator", "models.cnn:CNN", ("width", "depth")),
    "unet": Entry("generator", "models.unet:SongUNet", _UNET, "ncsnpp"),
    "film_unet": Entry("generator", "models.unet:FilmUNet", _UNET, "film"),
    "dit": Entry("generator", "models.dit:DiT", _DIT, "B"),
    "mobilenetv2": Entry("classifier", "models.classifiers:create", _CLASSIFIER),
    "resnet18": Entry("classifier", "models.classifiers:create", _CLASSIFIER),
    "resnet50": Entry("classifier", "models.classifiers:create", _CLASSIFIER),
    "convnext_tiny": Entry("classifier", "models.classifiers:create", _CLASSIFIER),
    "mae_resnet": Entry("encoder", "models.mae_resnet:MaskedAutoencoder", (), "mae_resnet"),
    "autoencoder_kl": Entry("autoencoder", "models.autoencoder_kl:AutoencoderKL", _AUTOENCODER),
    "resnet_generator": Entry(
        "translator", "models.resnet_generator:ResNetGenerator", _RESNET_GENERATOR
    ),
}
NAMES = tuple(NETWORKS)
# Not set by a config, but by the data, the precision, the method or Flax.
GIVEN = ("num_classes", "channels", "image_size", "dtype", "fused_attention", "name", "parent")
PATCHES = ("patch_size", "input_patch_size")
IMAGE_AXES = 3


def names(family: str) -> tuple[str, ...]:
    """All networks of a family."""
    return tuple(name for name, entry in NETWORKS.items() if entry.family == family)


def family(name: str) -> str:
    """The family of a network; like all of this file, raises ConfigError for an unknown network."""
    return _entry(name).family


def sizes(name: str) -> Mapping[str, Mapping[str, Any]]:
    """The presets of a network by name: attributes and their values; empty if it has no sizes."""
    return _builder(name).sizes if _entry(name).size else {}


@functools.cache
def settings(name: str) -> type:
    """The frozen dataclass of a network's keys of config.model, except its name."""
    entry, defaults = _entry(name), _attributes(name)
    size = [("size", str, field(default=entry.size))] if entry.size else []
    keys = [(k, defaults[k].annotation, field(default=defaults[k].default)) for k in entry.keys]
    title = name.title().replace("_", "")
    return make_dataclass(f"{title}Settings", size + keys, frozen=True)


def create(
    name: str,
    values: Mapping[str, Any],
    shape: tuple[int, ...],
    num_classes: int,
    dtype: Any = "float32",
) -> "nn.Module":
    """The network `name`.

    Args:
      values: attributes that differ from its defaults; `size` names a preset, which the others
        override.
      shape: of one sample, [H, W, C], or [D] where samples are points.
      num_classes: label `num_classes` is the null class; 0 for a generator without labels.
      dtype: of the computation; parameters, norms, softmax and output are float32.

    Raises:
      ConfigError: the network, the size or an attribute is unknown, or the values do not fit each
        other or the shape; the message names the keys.
    """
    import jax.numpy as jnp

    _require_axes(name, tuple(shape))
    attributes = _chosen(name, values)
    _require_whole_patches(attributes, shape)
    given = dict(
        num_classes=num_classes, channels=shape[-1], image_size=shape[0], dtype=jnp.dtype(dtype)
    )
    build = _builder(name)
    taken = inspect.signature(build).parameters.keys()
    try:
        network = build(**attributes, **{k: v for k, v in given.items() if k in taken})
        _trace(name, network, tuple(shape))
    except ValueError as error:
        raise ConfigError(f"config.model: {error}") from error
    return network


def require(name: str, network: "GeneratorNetwork", needed: Mapping[str, str]) -> None:
    """Raises ConfigError if a network does not read a field of the condition that is needed.

    Args:
      needed: for each field of a Condition, the key that needs it, such as
        {"guidance": "config.method.form = 'distance'"}.
    """
    for condition, key in needed.items():
        if condition not in network.reads:
            others = [n for n in names("generator") if _reads_all(n, needed, network.axes)]
            raise ConfigError(
                f"config.model.name = {name!r} reads {', '.join(sorted(network.reads))}, but "
                f"{key} needs {condition}; networks that read it: {', '.join(others) or 'none'}"
            )


def _entry(name: str) -> Entry:
    return NETWORKS[one_of("model.name", name, NETWORKS)]


def _builder(name: str) -> Any:
    """The callable from attributes to the network: its class, or a function bound to its name."""
    module, attribute = _entry(name).builder.split(":")
    found = getattr(importlib.import_module(module), attribute)
    return functools.partial(found, name) if inspect.isfunction(found) else found


def _attributes(name: str) -> dict[str, inspect.Parameter]:
    """The attributes that are not given by the data or the method, with types and defaults."""
    parameters = inspect.signature(_builder(name)).parameters
    return {k: p for k, p in parameters.items() if k not in GIVEN}


def _require_axes(name: str, shape: tuple[int, ...]) -> None:
    """Raises ConfigError if the network `name` takes samples of another number of axes."""
    axes = _axes(name)
    if len(shape) != axes:
        others = [n for n in names(family(name)) if _axes(n) == len(shape)]
        raise ConfigError(
            f"config.model.name = {name!r} takes samples of {axes} axes, not {shape}; "
            f"networks that take these: {', '.join(others) or 'none'}"
        )


def _chosen(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """All attributes: the defaults, overridden by the preset, overridden by the values."""
    values, defaults, preset = dict(values), _attributes(name), {}
    if presets := sizes(name):
        size = values.pop("size", _entry(name).size)
        preset = presets[one_of("model.size", size, presets)]
    for key in sorted(values.keys() - defaults.keys()):
        known = sorted(defaults)
        raise ConfigError(
            f"config.model.{key} is not an attribute of {name}, which has {', '.join(known)}"
            f"{did_you_mean(key, known, 'config.model.{}')}"
        )
    chosen = {k: p.default for k, p in defaults.items()} | preset | values
    # A config read back from JSON has lists, with which a module could not be hashed.
    return {k: tuple(v) if isinstance(v, list) else v for k, v in chosen.items()}


def _require_whole_patches(attributes: Mapping[str, Any], shape: tuple[int, ...]) -> None:
    for key in PATCHES:
        patch = attributes.get(key, 1)
        for size in shape[:-1]:
            if patch < 1 or size % patch:
                raise ConfigError(
                    f"config.model.{key} = {patch} does not divide config.data.image_size = {size}"
                )


@functools.cache
def _trace(name: str, network: "nn.Module", shape: tuple[int, ...]) -> None:
    """Raises ValueError if the network's own checks fail; nothing is computed."""
    import jax
    import jax.numpy as jnp

    from models.conditions import Condition

    given = {
        "generator": (Condition(label=jnp.zeros(1, jnp.int32)),),
        "autoencoder": (),
        "translator": (),
    }.get(family(name), (False,))  # train
    sample = jnp.zeros((1, *shape))
    jax.eval_shape(lambda key: network.init(key, sample, *given), jax.random.key(0))


def _axes(name: str) -> int:
    """The number of axes of a sample of the network."""
    return _builder(name).axes if family(name) == "generator" else IMAGE_AXES


def _reads_all(name: str, needed: Mapping[str, str], axes: int) -> bool:
    """Whether a generator reads all needed fields and takes samples of this number of axes."""
    network = _builder(name)
    return network.reads >= needed.keys() and network.axes == axes
