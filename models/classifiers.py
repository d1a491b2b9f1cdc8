"""Classifiers with a chosen stem and width; models/registry.py lists them."""

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
    """The stem, 'small', 'medium' or 'imagenet', that does not shrink small images too early."""
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
      name: a classifier of models/registry.py.
      image_size: determines the stem if `stem` is None; see `stem_for`.
      norm: 'batch' or 'group'; ConvNeXt ignores it and keeps its LayerNorm.
      width: multiplies the number of channels everywhere. MobileNetV2 rounds the products to
        multiples of 8, as published; in the other networks they must be whole numbers.
      stem: one of STEMS, or None.
      dtype: of the computation; parameters, norms, pooled features and logits are float32.

    Raises:
      ConfigError: the norm or the stem is unknown.
      ValueError: the network is unknown, or the width gives no whole number of channels.
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
        raise ValueError(f"unknown classifier {name!r}; models/registry.py lists them all")
    return ConvNeXt(**common, widths=tuple(_scale(c, width) for c in convnext.WIDTHS))


def _scale(channels: int, width: float) -> int:
    """channels * width, which must be a whole number."""
    scaled = round(channels * width)
    if scaled < 1 or abs(scaled - channels * width) > 1e-6:
        raise ValueError(
            f"width {width} turns {channels} channels into {channels * width:g}; "
            f"choose a multiple of 1/{channels}"
        )
    return scaled
