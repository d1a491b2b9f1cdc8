"""Velocity networks by name; the only place that knows them all.

All have one signature: network(z [B, ...], t [B], h [B], labels [B], train) -> float32, z's shape.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from drifting.core.errors import did_you_mean
from models import flow_dit, unet
from models.flow_dit import DiT
from models.unet import FilmUNet, SongUNet
from models.velocity_cnn import CNN
from models.velocity_mlp import MLP

NETWORKS = {
    # name: class, its presets by `size`, axes of one sample
    "mlp": (MLP, {}, 1),
    "cnn": (CNN, {}, 3),
    "unet": (SongUNet, unet.SONG_SIZES, 3),
    "film_unet": (FilmUNet, unet.FILM_SIZES, 3),
    "dit": (DiT, flow_dit.SIZES, 3),
}
# Not for a config to set: the data, the precision, the method or Flax does.
GIVEN = ("num_classes", "dtype", "fused_attention", "name", "parent")


def require_known(kind: str, name: str, known: Iterable[str]) -> None:
    """Raises ValueError, with the nearest name, where `name` is not among the known."""
    known = list(known)
    if name not in known:
        hint = did_you_mean(name, known)
        raise ValueError(f"no {kind} {name!r}; there are {', '.join(known) or 'none'}{hint}")


def create(
    name: str,
    values: Mapping[str, Any],
    image_shape: tuple[int, ...],
    num_classes: int,
    dtype: Any = jnp.float32,
) -> nn.Module:
    """The network `name`.

    Args:
      name: one of NETWORKS.
      values: attributes of the network that differ from its defaults; `size` names a preset, which
        the others override.
      image_shape: of one sample, [H, W, C], or [D] where samples are points.
      num_classes: label `num_classes` is the null class; 0 for a network without labels.
      dtype: of the computation; parameters, norms, softmax and output are float32.

    Raises:
      ValueError: there is no such network, preset or attribute, or it takes other samples.
    """
    require_known("velocity network", name, NETWORKS)
    network, sizes, axes = NETWORKS[name]
    if len(image_shape) != axes:
        others = [n for n, (_, _, other) in NETWORKS.items() if other == len(image_shape)]
        raise ValueError(
            f"{name} takes samples of {axes} axes, not {tuple(image_shape)}; "
            f"for these there are {', '.join(others) or 'none'}"
        )
    values = dict(values)
    preset = {}
    if "size" in values:
        size = values.pop("size")
        require_known(f"size of {name}", size, sizes)
        preset = sizes[size]
    fields = [f.name for f in dataclasses.fields(network) if f.name not in GIVEN]
    for key in values:
        require_known(f"attribute of {name}", key, fields)
    # A config that was read back from JSON has lists, which a module could not be hashed with.
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    return network(num_classes=num_classes, dtype=dtype, **preset | values)
