"""What an image network returns in addition to its logits, and feature vectors made of it.

A stack is float32 [S, B, D]: features of B images at S places (or scales) of one dimension D. A
drifting field is evaluated at each place. Stacks are in order of depth, whatever the order of the
maps: a jitted function returns dictionaries sorted by name. Maps whose names are not described in
`Activations`, such as a head, are left out.
"""

import math
import re
from collections.abc import Callable
from typing import NamedTuple

import einops
import jax
import jax.numpy as jnp

EPSILON = 1e-6  # under every root: the gradient at a constant map is 0, not NaN
PATCH_SIZES = (2, 4)
MAP_NAME = re.compile(r"stem|stage(\d+)(?:_block(\d+))?")


class Activations(NamedTuple):
    """Outputs of a classifier or encoder for B images.

    A network returns all of them; what a jitted caller does not use is never computed.

    Attributes:
      logits: float32 [B, K].
      pooled: float32 [B, D], what the last layer sees.
      maps: name -> [B, h, w, C], in order of depth: `stem`, then for each stage i its blocks
        `stage<i>_block<j>` (both from 1) and its output `stage<i>`.
    """

    logits: jax.Array
    pooled: jax.Array
    maps: dict[str, jax.Array]


def pooled_stacks(activations: Activations) -> tuple[jax.Array, ...]:
    """The mean of each stage's output over space: one [1, B, C] per stage."""
    maps = stage_maps(activations)
    return tuple(_over_patches(x, x.shape[1], x.shape[2], jnp.mean) for x in maps)


def stage_maps(activations: Activations) -> tuple[jax.Array, ...]:
    """The output of each stage, [B, h, w, C], in order of depth."""
    found = _by_depth(activations.maps)
    return tuple(x for (_, block), x in found if block == math.inf)


def location_stacks(activations: Activations, every_block: int) -> tuple[jax.Array, ...]:
    """Features of the stem, each stage's output and every `every_block`-th block of a stage.

    Each map [B, h, w, C] yields, in this order (Deng et al., "Generative Modeling via Drifting",
    arXiv:2602.04770, and its released code):
      the map itself [h * w, B, C];
      its mean and its standard deviation over space, each [1, B, C];
      for s = 2 and 4 where s divides h and w, mean and standard deviation of each patch of side s,
        each [(h / s) * (w / s), B, C].

    Args:
      every_block: block j of a stage is included if every_block divides j; 0 for no block.
    """
    stacks = []
    for (_, block), x in _by_depth(activations.maps):
        if block in (0, math.inf) or (every_block and block % every_block == 0):
            stacks.extend(_map_stacks(x.astype(jnp.float32)))
    return tuple(stacks)


def input_stacks(x: jax.Array, input_patch_size: int) -> tuple[jax.Array, jax.Array]:
    """Features of the encoder's input x [B, H, W, C] itself; input_patch_size divides H and W.

    Returns:
      The root mean square over all patches, for each place and channel within a patch,
      [1, B, p * p * C] (the released code's norm_x), and the raw pixels [1, B, H * W * C].
    """
    x = x.astype(jnp.float32)
    p = input_patch_size
    square = einops.reduce(jnp.square(x), "b (h p) (w q) c -> b (p q c)", "mean", p=p, q=p)
    # sqrt(mean(x^2)) [1, B, p p C], and x [1, B, H W C]
    return jnp.sqrt(square + EPSILON)[None], x.reshape(1, x.shape[0], -1)


def _map_stacks(x: jax.Array) -> list[jax.Array]:
    """The stacks of one map, as `location_stacks` lists them."""
    height, width = x.shape[1:3]
    patches = [(s, s) for s in PATCH_SIZES if height % s == 0 and width % s == 0]
    stacks = [einops.rearrange(x, "b h w c -> (h w) b c")]
    for p, q in [(height, width), *patches]:
        stacks.append(_over_patches(x, p, q, jnp.mean))
        stacks.append(jnp.sqrt(_over_patches(x, p, q, jnp.var) + EPSILON))
    return stacks


def _over_patches(x: jax.Array, p: int, q: int, reduction: Callable) -> jax.Array:
    """A float32 reduction of x [B, h, w, C] over patches of p by q: [(h / p) * (w / q), B, C]."""
    pattern = "b (h p) (w q) c -> (h w) b c"
    return einops.reduce(x.astype(jnp.float32), pattern, reduction, p=p, q=q)


def _by_depth(maps: dict[str, jax.Array]) -> list[tuple[tuple[int, float], jax.Array]]:
    """The maps with their places (stage, block), in order of depth.

    The stem is at (0, 0); a stage's output comes after all of its blocks, at block infinity.
    """

    def place(name: str) -> tuple[int, float]:
        stage, block = MAP_NAME.fullmatch(name).groups()
        return (int(stage), int(block) if block else math.inf) if stage else (0, 0)

    placed = [(place(name), x) for name, x in maps.items() if MAP_NAME.fullmatch(name)]
    return sorted(placed, key=lambda entry: entry[0])
