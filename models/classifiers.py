"""Classifiers, with the stem and the width that a run asks for (models/registry.py names them)."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from drifting.core.errors import one_of
from models import convnext
from models.convnext import ConvNeXt
from models.layers import norms
from models.mobilenet_v2 import MobileNetV2
from models.resnet import ResNet

RESNETS = {
    # name: blocks of each stage, bottleneck, channels of the first stage
    "resnet18": dict(blocks=(2, 2, 2, 2), bottleneck=False, width=64),
    "resnet50": dict(blocks=(3, 4, 6, 3), bottleneck=True, width=64),
}
STEMS = ("small", "medium", "imagenet")


def stem_for(image_size: int) -> str:
    """The stem that leaves small images a map to work on: 'small', 'medium' or 'imagenet'."""
    if image_size <= 32:
        return "small"
    return "medium" if image_size <= 64 else "imagenet"


def create(
    name: str,
    num_classes: int,
    image_size: int,
    norm: str = "batch",
    width: float = 1.0,
    stem: str | None = None,
    dtype: Any = jnp.float32,
) -> nn.Module:
    """The network `name`, called as `network(images [B, S, S, C], train) -> Activations`.

    Args:
      name: of a classifier in models/registry.py.
      image_size: chooses the stem, see `stem_for`, unless `stem` does.
      norm: 'batch' or 'group'; ConvNeXt keeps its LayerNorm whichever is given.
      width: multiplies the number of channels everywhere; MobileNetV2 rounds the products to
        eights, as published, of the others they have to be whole.
      stem: one of STEMS, or None: by the image size.
      dtype: of the computation; parameters, norms, pooled features and logits are float32.

    Raises:
      ConfigError: there is no such norm or stem.
      ValueError: there is no such network, or the width leaves no whole number of channels.
    """
    one_of("model.norm", norm, norms.KINDS)
    if stem is not None:
        one_of("model.stem", stem, STEMS)
    common = dict(num_classes=num_classes, stem=stem or stem_for(image_size), dtype=dtype)
    if name in RESNETS:
        sizes = RESNETS[name]
        scaled = _scale(sizes["width"], width)
        return ResNet(**common, **sizes | {"width": scaled}, norm=norm)
    if name == "mobilenetv2":
        return MobileNetV2(**common, width=width, norm=norm)
    if name != "convnext_tiny":
        raise ValueError(f"no classifier {name!r}; models/registry.py names them all")
    return ConvNeXt(**common, widths=tuple(_scale(c, width) for c in convnext.WIDTHS))


def _scale(channels: int, width: float) -> int:
    """channels * width, which has to be a whole number."""
    scaled = round(channels * width)
    if scaled < 1 or abs(scaled - channels * width) > 1e-6:
        raise ValueError(
            f"width {width} makes {channels} channels {channels * width:g}; "
            f"choose a multiple of 1/{channels}"
        )
    return scaled
