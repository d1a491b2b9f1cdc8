"""DiT, the diffusion transformer of flow matching and MeanFlow: a noisy image to a velocity.

Peebles and Xie, "Scalable Diffusion Models with Transformers" (arXiv:2212.09748), with a second
time input, the length h = t - r of the interval (Geng et al., "Mean Flows for One-step Generative
Modeling", arXiv:2505.13447). The defaults are the release of that paper; the other values of
`position`, `time_planes` and `shared_time` give the network of kylevedder/DenoisingZoo.

Every operation has a forward-mode derivative and a reverse-mode one of that, as MeanFlow needs
both. Norms, softmax and the conditioning are float32 whatever `dtype` is.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from models.conditions import Condition, GeneratorNetwork
from models.layers.dense import Dense
from models.layers.embeddings import Conditioning, normal, with_time_planes
from models.layers.patches import patchify
from models.layers.positions import sincos_table
from models.layers.transformer import Block, to_images

Dtype = Any

POSITIONS = ("sincos", "learned")

SIZES = {
    # nano is for two CPU cores; the others are the paper's, and M the release's between B and L
    "nano": dict(hidden_size=64, depth=4, num_heads=2),
    "S": dict(hidden_size=384, depth=12, num_heads=6),
    "B": dict(hidden_size=768, depth=12, num_heads=12),
    "M": dict(hidden_size=1024, depth=16, num_heads=16),
    "L": dict(hidden_size=1024, depth=24, num_heads=16),
    "XL": dict(hidden_size=1152, depth=28, num_heads=16),
}


class DiT(GeneratorNetwork):
    """The velocity at (z, t), or the mean velocity over [t - h, t]; zero before training.

    Images or latents z [B, S, S, C] are square.

    Attributes:
      patch_size: side of a patch; divides S.
      position: 'sincos', a fixed table, or 'learned', a parameter.
      time_planes: two constant planes, r = t - h and t, are appended to the image's channels.
      shared_time: see `Conditioning`.
      fused_attention: see `attend`; `fused()` turns it on.
      remat: blocks are recomputed in the backward pass instead of kept in memory.
    """

    patch_size: int = 2
    hidden_size: int = 384
    depth: int = 12
    num_heads: int = 6
    mlp_ratio: int = 4
    position: str = "sincos"
    time_planes: bool = False
    shared_time: bool = False
    fused_attention: bool = False
    remat: bool = False
    dtype: Dtype = jnp.float32

    reads = frozenset({"time", "interval", "label", "guidance"})
    sizes = SIZES

    def fused(self) -> "DiT":
        return self.clone(fused_attention=True)

    @nn.compact
    def __call__(self, z: jax.Array, condition: Condition, train: bool = False) -> jax.Array:
        t, h = condition.times(len(z))
        x = self._embed(z, t, h)
        vector = Conditioning(
            self.num_classes, self.hidden_size, self.shared_time, name="conditioning"
        )(t, h, condition.label, condition.guidance)
        block = nn.remat(Block) if self.remat else Block
        for i in range(self.depth):
            x = block(
                num_heads=self.num_heads,
                mlp_size=self.mlp_ratio * self.hidden_size,
                mlp="gelu_tanh",
                norm="layer",
                fused_attention=self.fused_attention,
                dtype=self.dtype,
                name=f"block_{i}",
            )(x, vector)
        zeros = nn.initializers.zeros
        return to_images(x, vector, z.shape, self.patch_size, "layer", zeros, self.dtype)

    def _embed(self, z: jax.Array, t: jax.Array, h: jax.Array) -> jax.Array:
        """Patches with their positions [B, T, D]."""
        if self.time_planes:
            z = with_time_planes(z, t, h)
        x = patchify(z, self.patch_size)
        x = Dense(self.hidden_size, dtype=self.dtype, name="patch_embed")(x)
        shape = (1, x.shape[1], self.hidden_size)
        if self.position == "learned":
            table = self.param("position", normal, shape)
        elif self.position == "sincos":
            grid = z.shape[1] // self.patch_size
            table = sincos_table(grid, self.hidden_size).reshape(shape)  # [1, T, D]
        else:
            raise ValueError(f"position {self.position!r} is not one of {', '.join(POSITIONS)}")
        return x + jnp.asarray(table, self.dtype)
