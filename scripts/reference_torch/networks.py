"""The networks of models/classifiers.py in PyTorch: same layers, initialisation and stems.

Parameters have the names of torchvision's networks, so that their weights load into ours through
drifting/pretrained/torchvision.py. Maps are [B, C, H, W]. Pooled features and logits are float32,
also under autocast.
"""

import functools
import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from models import classifiers, convnext, mobilenet_v2, resnet


def create(
    name: str,
    num_classes: int,
    channels: int,
    image_size: int,
    width: float = 1.0,
    stem: str | None = None,
) -> nn.Module:
    """The network `name`, from standardised images [B, channels, S, S] to logits [B, num_classes].

    Args:
      name: one of NETWORKS.
      image_size, width, stem: as in models/classifiers.py.
    """
    stem = stem or classifiers.stem_for(image_size)
    return NETWORKS[name](num_classes, channels, width, stem)


def conv_norm(
    inputs: int, features: int, kernel: int, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    """A convolution without bias and its batch normalisation."""
    padding = kernel // 2
    conv = nn.Conv2d(inputs, features, kernel, stride, padding, groups=groups, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return [conv, nn.BatchNorm2d(features)]


def in_float32(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """A layer outside autocast."""
    with torch.autocast(x.device.type, enabled=False):
        return layer(x.float())


def pool(x: torch.Tensor) -> torch.Tensor:
    """The mean over the map in float32: [B, C]."""
    return x.float().mean(dim=(2, 3))


# --- ResNet (He et al., arXiv:1512.03385) --------------------------------------------------------


class ResNetBlock(nn.Module):
    """Two 3x3 convolutions, or 1x1, 3x3, 1x1 to four times the width, plus a shortcut."""

    def __init__(self, inputs: int, width: int, stride: int, bottleneck: bool):
        super().__init__()
        out = 4 * width if bottleneck else width
        if bottleneck:
            self.conv1, self.bn1 = conv_norm(inputs, width, 1)
            self.conv2, self.bn2 = conv_norm(width, width, 3, stride)
            self.conv3, self.bn3 = conv_norm(width, out, 1)
        else:
            self.conv1, self.bn1 = conv_norm(inputs, width, 3, stride)
            self.conv2, self.bn2 = conv_norm(width, out, 3)
        self.bottleneck, self.out, self.downsample = bottleneck, out, None
        if stride != 1 or inputs != out:
            self.downsample = nn.Sequential(*conv_norm(inputs, out, 1, stride))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.bottleneck:
            y = self.bn3(self.conv3(F.relu(y)))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """See models/resnet.py."""

    def __init__(self, name: str, num_classes: int, channels: int, width: float, stem: str):
        super().__init__()
        sizes = classifiers.RESNETS[name]
        base = round(sizes["width"] * width)
        kernel, stride, self.pools = resnet.STEMS[stem]
        self.conv1, self.bn1 = conv_norm(channels, base, kernel, stride)
        inputs = base
        for i, count in enumerate(sizes["blocks"]):
            layer = nn.Sequential()
            for j in range(count):
                stride = 2 if i > 0 and j == 0 else 1
                layer.append(ResNetBlock(inputs, base * 2**i, stride, sizes["bottleneck"]))
                inputs = layer[-1].out
            self.add_module(f"layer{i + 1}", layer)
        self.depth = len(sizes["blocks"])
        self.fc = nn.Linear(inputs, num_classes)  # PyTorch's initialisation, which ours repeats

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        if self.pools:
            x = F.max_pool2d(x, 3, 2, padding=1)
        for i in range(self.depth):
            x = self.get_submodule(f"layer{i + 1}")(x)
        return in_float32(self.fc, pool(x))


# --- MobileNetV2 (Sandler et al., arXiv:1801.04381) ----------------------------------------------


class InvertedResidual(nn.Module):
    """1x1 convolution to `expansion` times the channels, 3x3 depthwise, 1x1 without activation."""

    def __init__(self, inputs: int, features: int, expansion: int, stride: int):
        super().__init__()
        wide = inputs * expansion
        layers = []
        if expansion != 1:
            layers.append(nn.Sequential(*conv_norm(inputs, wide, 1), nn.ReLU6()))
        layers.append(nn.Sequential(*conv_norm(wide, wide, 3, stride, groups=wide), nn.ReLU6()))
        self.conv = nn.Sequential(*layers, *conv_norm(wide, features, 1))
        self.adds = stride == 1 and inputs == features

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv(x) if self.adds else self.conv(x)


class MobileNetV2(nn.Module):
    """See models/mobilenet_v2.py; dropout at 0.2 before the last layer."""

    def __init__(self, num_classes: int, channels: int, width: float, stem: str):
        super().__init__()
        stem_stride, second_stride = mobilenet_v2.STEMS[stem]
        inputs = mobilenet_v2.round_channels(mobilenet_v2.STEM_CHANNELS * width)
        layers = [nn.Sequential(*conv_norm(channels, inputs, 3, stem_stride), nn.ReLU6())]
        for i, (expansion, wanted, blocks, stride) in enumerate(mobilenet_v2.STAGES):
            features = mobilenet_v2.round_channels(wanted * width)
            stride = second_stride if i == 1 else stride
            for j in range(blocks):
                first = j == 0
                layers.append(InvertedResidual(inputs, features, expansion, stride if first else 1))
                inputs = features
        head = mobilenet_v2.round_channels(mobilenet_v2.HEAD_CHANNELS * max(1.0, width))
        layers.append(nn.Sequential(*conv_norm(inputs, head, 1), nn.ReLU6()))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(head, num_classes))
        nn.init.normal_(self.classifier[1].weight, 0.0, 0.01)
        nn.init.zeros_(self.classifier[1].bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return in_float32(self.classifier, pool(self.features(x)))


# --- ConvNeXt (Liu et al., arXiv:2201.03545) -----------------------------------------------------


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of a map [B, C, H, W]."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ChannelsLast(nn.Module):
    """[B, C, H, W] to [B, H, W, C]; a module, as torchvision counts it among a block's layers."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.permute(0, 2, 3, 1)


class ConvNeXtBlock(nn.Module):
    """7x7 depthwise convolution and an MLP over channels, scaled, dropped, added to the input."""

    def __init__(self, channels: int, drop_rate: float):
        super().__init__()
        self.drop_rate = drop_rate
        self.layer_scale = nn.Parameter(torch.full((channels, 1, 1), convnext.LAYER_SCALE))
        self.block = nn.Sequential(
            nn.Conv2d(channels, channels, 7, padding=3, groups=channels),
            ChannelsLast(),
            nn.LayerNorm(channels, eps=1e-6),
            nn.Linear(channels, 4 * channels),
            nn.GELU(),
            nn.Linear(4 * channels, channels),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.layer_scale * self.block(x).permute(0, 3, 1, 2)
        if self.training and self.drop_rate:
            kept = 1.0 - self.drop_rate
            draws = torch.rand(len(y), 1, 1, 1, device=y.device)  # one per image
            y = y * (draws < kept) / kept
        return x + y


class ConvNeXt(nn.Module):
    """See models/convnext.py; stochastic depth at up to 0.1."""

    def __init__(self, num_classes: int, channels: int, width: float, stem: str):
        super().__init__()
        patch = convnext.PATCH_SIZES[stem]
        widths: Sequence[int] = [round(c * width) for c in convnext.WIDTHS]
        rates = iter(convnext.drop_rates(convnext.DEPTHS, 0.1))
        layers: list[nn.Module] = []
        for i, (depth, features) in enumerate(zip(convnext.DEPTHS, widths, strict=True)):
            if i == 0:
                first = nn.Conv2d(channels, features, patch, patch)
                layers.append(nn.Sequential(first, ChannelNorm(features, eps=1e-6)))
            else:
                norm = ChannelNorm(widths[i - 1], eps=1e-6)
                layers.append(nn.Sequential(norm, nn.Conv2d(widths[i - 1], features, 2, 2)))
            blocks = (ConvNeXtBlock(features, next(rates)) for _ in range(depth))
            layers.append(nn.Sequential(*blocks))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.LayerNorm(widths[-1], eps=1e-6), nn.Identity(), nn.Linear(widths[-1], num_classes)
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.normal_(module.weight, 0.0, 0.02)
                nn.init.zeros_(module.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return in_float32(self.classifier, pool(self.features(x)))


NETWORKS = {
    "resnet18": functools.partial(ResNet, "resnet18"),
    "resnet50": functools.partial(ResNet, "resnet50"),
    "mobilenetv2": MobileNetV2,
    "convnext_tiny": ConvNeXt,
}


def num_parameters(network: nn.Module) -> int:
    """The number of trained numbers, without running statistics."""
    return sum(math.prod(p.shape) for p in network.parameters())
