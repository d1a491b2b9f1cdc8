"""What the generator and the patch heads minimise: the terms, and their weighted sum."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from drifting.core import state as state_lib
from drifting.losses import adversarial, patchnce
from drifting.losses.feature_matching import feature_matching
from drifting.losses.palette import palette_loss
from drifting.losses.repulsion import repulsion
from drifting.methods.cut.judge import Judge
from drifting.methods.cut.settings import Settings
from models.activations import Activations
from models.patch_heads import PatchHeads

Maps = tuple[jax.Array, ...]  # [N, h, w, C] each
Vectors = tuple[jax.Array, ...]  # [N, P, D] each


class Given(NamedTuple):
    """What the terms depend on besides the networks that minimise them.

    Attributes:
      inputs: of the generator, [N, H, W, C]: B source images and, if `translates_targets`, B target
        images; mirrored where `mirrored` is true.
      target: target images [B, H, W, C].
      mirrored: bool scalar; None without flip equivariance.
      places: of the patches of each map, int32 [P].
      keys: the vectors of the inputs' patches.
      judge: the variables of the discriminator.
      encoder: the parameters of the encoder, or None.
      identity_weight: at this step.
      key: of what the discriminator sees.
    """

    inputs: jax.Array
    target: jax.Array
    mirrored: jax.Array | None
    places: tuple[jax.Array, ...]
    keys: Vectors
    judge: Any
    encoder: Any
    identity_weight: jax.Array
    key: jax.Array


@dataclasses.dataclass(frozen=True, eq=False)
class Objective:
    """The networks, applied as the loss needs them, and the loss.

    Attributes:
      settings: config.method.
      encode: the encoder between whose features translations repel each other; None without one.
    """

    settings: Settings
    generator: nn.Module
    heads: PatchHeads
    judge: Judge
    encode: Callable[[Any, jax.Array], Activations] | None = None

    def translate(self, params: Any, images: jax.Array) -> tuple[jax.Array, Maps]:
        """The generator's output for images [N, H, W, C], and the maps of what PatchNCE compares.

        These are the maps of all images with `nce_idt`, else of the first `batch_size`.
        """
        taps = self.settings.taps
        made, maps = self.generator.apply(
            {"params": params}, state_lib.shard_batch(images), taps, method="with_features"
        )
        return made, tuple(self._compared(x) for x in maps)

    def features(self, params: Any, images: jax.Array) -> Maps:
        """The maps of what PatchNCE compares; nothing else is computed."""
        images = state_lib.shard_batch(self._compared(images))
        taps = self.settings.taps
        return self.generator.apply({"params": params}, images, taps, method="features")

    def _compared(self, x: jax.Array) -> jax.Array:
        return x if self.settings.nce_idt else x[: self.settings.batch_size]

    def places(self, key: jax.Array, maps: Maps) -> tuple[jax.Array, ...]:
        """Places of patches in each map, the same in all images and in inputs and outputs."""
        sizes = [x.shape[1:3] for x in maps]
        keys = jax.random.split(key, len(sizes))
        count = self.settings.num_patches
        return tuple(patchnce.places(k, *size, count) for k, size in zip(keys, sizes, strict=True))

    def vectors(self, params: Any, maps: Maps, places: tuple[jax.Array, ...]) -> Vectors:
        """The heads' vectors of the patches at `places`, of length one."""
        patches = tuple(map(patchnce.gather, maps, places))
        found = self.heads.apply({"params": params}, patches)
        return tuple(patchnce.normalize(x, self.settings.nce_epsilon) for x in found)

    def loss(
        self, made: jax.Array, generator: Any, heads: Any, given: Given
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The loss of translations, and its terms without their weights.

        Args:
          made: the generator's output for `given.inputs`; its gradient goes on into the generator.
          generator: the generator's parameters, by which the features of `made` depend on it, too.
        """
        settings, count = self.settings, self.settings.batch_size
        terms = self._contrast(made, generator, heads, given)
        weights = {"nce": settings.nce_weight}
        if settings.nce_idt:
            weights = dict.fromkeys(terms, 0.5 * settings.nce_weight)
        if settings.identity_weight:
            terms["identity"] = jnp.mean(jnp.abs(made[count:] - given.inputs[count:]))
            weights["identity"] = given.identity_weight
        for name, weight, value in self._of_distribution(made[:count], given):
            terms[name], weights[name] = value, weight
        return sum(weights[name] * value for name, value in terms.items()), terms

    def _contrast(
        self, made: jax.Array, generator: Any, heads: Any, given: Given
    ) -> dict[str, jax.Array]:
        """PatchNCE of translated source images and, with `nce_idt`, of translated targets."""
        settings, count = self.settings, self.settings.batch_size
        maps = self.features(generator, made)
        if given.mirrored is not None:
            maps = tuple(jnp.where(given.mirrored, x[:, :, ::-1], x) for x in maps)
        queries = self.vectors(heads, maps, given.places)

        def mean_loss(rows: slice) -> jax.Array:
            found = [
                patchnce.patchnce(
                    q[rows], k[rows], temperature=settings.temperature,
                    across_batch=settings.nce_across_batch, clamp=settings.nce_clamp or None,
                )
                for q, k in zip(queries, given.keys, strict=True)
            ]  # fmt: skip
            return sum(map(jnp.mean, found)) / len(found)

        terms = {"nce": mean_loss(slice(None, count))}
        return terms | ({"nce_idt": mean_loss(slice(count, None))} if settings.nce_idt else {})

    def _of_distribution(
        self, fake: jax.Array, given: Given
    ) -> Iterator[tuple[str, float, jax.Array]]:
        """Names, weights and values of the terms of translations without their inputs."""
        settings, (key_fake, key_real) = self.settings, jax.random.split(given.key)
        seen = self.judge.seen(key_fake, fake)
        logits, maps = self.judge.with_features(given.judge, seen)
        adversary = adversarial.generator_loss(settings.loss, logits)
        yield "g_adv", settings.adversarial_weight, adversary
        if weight := settings.feature_matching_weight:
            seen = self.judge.seen(key_real, given.target)
            _, real = self.judge.with_features(given.judge, seen)
            yield "feature_matching", weight, feature_matching(maps, real)
        if weight := settings.palette_weight:
            yield "palette", weight, palette_loss(fake, given.target)
        if weight := settings.repulsion_weight:
            pooled = patchnce.normalize(self.encode(given.encoder, fake).pooled)
            k, margin = settings.repulsion_neighbours, settings.repulsion_margin
            yield "repulsion", weight, repulsion(pooled, k, margin)
