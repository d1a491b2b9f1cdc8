"""Networks by name; the only place that knows them all.

A new one is a file, and a line here. Nothing of it is imported before it is asked for.
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
      family: what it is for: 'generator' (models/conditions.py), 'classifier' or 'encoder'.
      builder: the module and the class, or the function of a network's name, that makes it. Its
        parameters are the network's attributes; their meaning and defaults are told there.
      keys: those attributes that a config sets.
      size: the preset that the attributes start from, unless told otherwise; None: no presets.
    """

    family: str
    builder: str
    keys: tuple[str, ...]
    size: str | None = None


_UNET = ("dropout", "remat")
_DIT = ("patch_size", "position", "time_planes", "shared_time", "remat")
_CLASSIFIER = ("norm", "width", "stem")

NETWORKS = {
    "drift_dit": Entry(
        "generator", "models.drift_dit:DriftDiT", ("patch_size", "num_registers"), "tiny"
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
}
NAMES = tuple(NETWORKS)
# Not for a config to set: the data, the precision, the method or Flax does.
GIVEN = ("num_classes", "channels", "image_size", "dtype", "fused_attention", "name", "parent")
PATCHES = ("patch_size", "input_patch_size")
IMAGE_AXES = 3


def names(family: str) -> tuple[str, ...]:
    """All networks of a family."""
    return tuple(name for name, entry in NETWORKS.items() if entry.family == family)


def family(name: str) -> str:
    """The family of a network; ConfigError, as from all of this file, where there is none."""
    return _entry(name).family


def sizes(name: str) -> Mapping[str, Mapping[str, Any]]:
    """The presets of a network by name: attributes and their values; none where it has no sizes."""
    return _builder(name).sizes if _entry(name).size else {}


@functools.cache
def settings(name: str) -> type:
    """The frozen dataclass of a network's keys of config.model, but for its name."""
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
      ConfigError: there is no such network, size or attribute, or none of these values for such
        samples; the keys are named.
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
    """Raises ConfigError where a network does not read a part of the condition that is needed.

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
    """What makes the network of its attributes: its class, or a function that knows its name."""
    module, attribute = _entry(name).builder.split(":")
    found = getattr(importlib.import_module(module), attribute)
    return functools.partial(found, name) if inspect.isfunction(found) else found


def _attributes(name: str) -> dict[str, inspect.Parameter]:
    """Its attributes that are not given by the data or the method, with types and defaults."""
    parameters = inspect.signature(_builder(name)).parameters
    return {k: p for k, p in parameters.items() if k not in GIVEN}


def _require_axes(name: str, shape: tuple[int, ...]) -> None:
    """Raises ConfigError where the network `name` takes samples of another number of axes."""
    axes = _axes(name)
    if len(shape) != axes:
        others = [n for n in names(family(name)) if _axes(n) == len(shape)]
        raise ConfigError(
            f"config.model.name = {name!r} takes samples of {axes} axes, not {shape}; "
            f"for these there are {', '.join(others) or 'none'}"
        )


def _chosen(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """All attributes: the defaults, the preset's over these and the values over both."""
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
    # A config that was read back from JSON has lists, which a module could not be hashed with.
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
    """Raises ValueError where the network's own checks fail; nothing is computed."""
    import jax
    import jax.numpy as jnp

    from models.conditions import Condition

    told = False  # in training or not
    if family(name) == "generator":
        told = Condition(label=jnp.zeros(1, jnp.int32))
    sample = jnp.zeros((1, *shape))
    jax.eval_shape(lambda key: network.init(key, sample, told), jax.random.key(0))


def _axes(name: str) -> int:
    """Of the samples that the network takes."""
    return _builder(name).axes if family(name) == "generator" else IMAGE_AXES


def _reads_all(name: str, needed: Mapping[str, str], axes: int) -> bool:
    """Whether a generator reads all that is needed and takes samples of so many axes."""
    network = _builder(name)
    return network.reads >= needed.keys() and network.axes == axes
