"""A generator that translates images: residual blocks at a quarter of their size.

The network of CycleGAN (Zhu et al., arXiv:1703.10593) in the form of CUT (Park et al.,
arXiv:2007.15651), which resamples with blurs and compares features.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from models.layers.convolution import faint_init, reflected, transposed_conv3x3
from models.layers.gates import ChannelAttention, SelfAttention, StyleGate
from models.layers.norms import instance_norm
from models.layers.resample import blur_double, blur_halve, require_resampling

LEVELS = 2  # of down- and upsampling
LEAST = 8  # pixels of a side, so that the blocks have two to mirror
# What PatchNCE compares: the padded image, both convolutions on the way down before their norms,
# and the outputs of two residual blocks.
TAPS = ("pad", "down_1", "down_2", "block_1", "block_5")

Maps = tuple[jax.Array, ...]
Layer = Callable[[jax.Array], jax.Array]


class ResNetGenerator(nn.Module):
    """Images [B, H, W, C] to images of the same size in [-1, 1], float32.

    A 7x7 convolution, two halvings to four times the width, residual blocks, two doublings, a 7x7
    convolution and tanh, with instance norms without weights. The 7x7 convolutions and the blocks
    mirror their input at its edges; the convolutions that go with a change of size pad with zeros.

    Attributes:
      channels: of the output.
      width: channels of the first convolution.
      blocks: residual blocks.
      resampling: 'antialias' (blurs) or 'strided' (strided and transposed convolutions).
      self_attention: SelfAttention after the middle block.
      channel_attention: ChannelAttention after the middle block, and after its self-attention.
      style_gates: a StyleGate on the branch of each block.
      initializer: of the kernels, 'xavier' or 'normal', see `faint_init`; biases are 0.
    """

    channels: int
    width: int = 64
    blocks: int = 9
    resampling: str = "antialias"
    self_attention: bool = False
    channel_attention: bool = False
    style_gates: bool = False
    initializer: str = "xavier"
    dtype: Any = jnp.float32

    def __call__(self, images: jax.Array) -> jax.Array:
        """Raises ValueError for sizes that are no multiples of 4 or too small to be mirrored."""
        return self._run(images, (), whole=True)[0]

    def with_features(
        self, images: jax.Array, taps: Sequence[str] = TAPS
    ) -> tuple[jax.Array, Maps]:
        """The output, and the maps [B, h, w, c] at `taps` in their order."""
        return self._run(images, tuple(taps), whole=True)

    def features(self, images: jax.Array, taps: Sequence[str] = TAPS) -> Maps:
        """The maps at `taps` alone; nothing after the last of them is computed.

        Raises:
          ValueError: this network has no such tap; as `__call__`.
        """
        return self._run(images, tuple(taps), whole=False)[1]

    @nn.compact
    def _run(self, images: jax.Array, taps: tuple[str, ...], whole: bool) -> tuple[jax.Array, Maps]:
        self._check(images.shape)
        x, passed, maps = images, [], {}
        for name, layer in self._layers():
            if not whole and maps.keys() >= set(taps):
                break
            x = layer(x)
            passed.append(name)
            if name in taps:
                maps[name] = x
        if missing := set(taps).difference(maps):
            raise ValueError(
                f"no tap {', '.join(sorted(missing))} among the layers {', '.join(passed)}"
            )
        return x, tuple(maps[tap] for tap in taps)

    def _check(self, shape: tuple[int, ...]) -> None:
        require_resampling(self.resampling)
        for key in ("width", "blocks"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} {getattr(self, key)} is not at least 1")
        height, width = shape[1:3]
        if height % 4 or width % 4 or min(height, width) < LEAST:
            raise ValueError(
                f"the generator needs sides that are multiples of 4 and at least {LEAST} pixels, "
                f"not {height} x {width}"
            )

    def _layers(self) -> Iterator[tuple[str, Layer]]:
        """Each layer by name; all of them are made only if all are asked for."""
        antialias = self.resampling == "antialias"
        stride = 1 if antialias else 2
        yield "pad", functools.partial(reflected, pad=3)
        yield "stem", self._conv(self.width, 7, "stem")
        yield "stem_norm", _norm_relu
        for i in range(1, LEVELS + 1):
            yield f"down_{i}", self._conv(self.width * 2**i, 3, f"down_{i}", stride, padding=1)
            yield f"down_{i}_norm", _norm_relu
            if antialias:
                yield f"down_{i}_blur", blur_halve
        for i in range(1, self.blocks + 1):
            yield f"block_{i}", self._block(f"block_{i}")
            if i == (self.blocks + 1) // 2:
                yield from self._attention()
        for i in range(LEVELS - 1, -1, -1):
            if antialias:
                yield f"up_{i}_blur", blur_double
                yield f"up_{i}", self._conv(self.width * 2**i, 3, f"up_{i}", padding=1)
            else:
                yield f"up_{i}", self._transposed(self.width * 2**i, f"up_{i}")
            yield f"up_{i}_norm", _norm_relu
        yield "out_pad", functools.partial(reflected, pad=3)
        yield "out", self._conv(self.channels, 7, "out")
        yield "tanh", lambda x: jnp.tanh(x.astype(jnp.float32))

    def _conv(
        self, features: int, kernel: int, name: str, stride: int = 1, padding: int = 0
    ) -> nn.Conv:
        return nn.Conv(
            features, (kernel, kernel), stride, padding=padding, dtype=self.dtype,
            kernel_init=faint_init(self.initializer), name=name,
        )  # fmt: skip

    def _block(self, name: str) -> Layer:
        init = faint_init(self.initializer)
        return Block(self.style_gates, init, self.dtype, name=name)

    def _transposed(self, features: int, name: str) -> Layer:
        return TransposedConv(features, faint_init(self.initializer), self.dtype, name=name)

    def _attention(self) -> Iterator[tuple[str, Layer]]:
        init = faint_init(self.initializer)
        for kind, asked, layer in (
            ("self_attention", self.self_attention, SelfAttention),
            ("channel_attention", self.channel_attention, ChannelAttention),
        ):
            if asked:
                yield kind, layer(init, self.dtype, name=kind)


class Block(nn.Module):
    """x [B, H, W, C] plus a branch of two mirrored 3x3 convolutions, each with its norm.

    Attributes:
      gated: a StyleGate multiplies the branch.
    """

    gated: bool
    kernel_init: nn.initializers.Initializer
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        def conv(x: jax.Array, name: str) -> jax.Array:
            layer = nn.Conv(
                x.shape[-1], (3, 3), padding=0, dtype=self.dtype, kernel_init=self.kernel_init,
                name=name,
            )  # fmt: skip
            return instance_norm(layer(reflected(x, 1)))

        branch = conv(nn.relu(conv(x, "conv_1")), "conv_2")
        if self.gated:
            branch = branch * StyleGate(name="style_gate")(x)
        return x + branch


class TransposedConv(nn.Module):
    """A `transposed_conv3x3` with its weights."""

    features: int
    kernel_init: nn.initializers.Initializer
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (3, 3, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        return transposed_conv3x3(x, kernel) + bias[None, None, None]


def _norm_relu(x: jax.Array) -> jax.Array:
    return nn.relu(instance_norm(x))
