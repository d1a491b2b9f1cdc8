"""The discriminator: what it sees, what it minimises, and its gradient."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from drifting.core import state as state_lib
from drifting.losses import adversarial
from drifting.losses.diff_augment import diff_augment
from drifting.methods.cut.settings import Settings
from models.patchgan import PatchGAN

Logits = tuple[jax.Array, ...]  # one array [B, h, w] per scale
Maps = tuple[jax.Array, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Judge:
    """A discriminator of patches, which tells target images from translations.

    Its variables are a dict of the collections `params` and, with spectral norm, `batch_stats`.

    Attributes:
      settings: config.method.
      network: from images to logits.
    """

    settings: Settings
    network: PatchGAN

    def seen(self, key: jax.Array, images: jax.Array) -> jax.Array:
        """Images [B, H, W, C] as the discriminator sees them, real or translated."""
        return diff_augment(key, images, self.settings.diff_augment)

    def logits(self, variables: Any, images: jax.Array) -> Logits:
        """The logits of images as they are seen."""
        return self.network.apply(variables, state_lib.shard_batch(images))

    def with_features(self, variables: Any, images: jax.Array) -> tuple[Logits, Maps]:
        """The logits and the maps before them."""
        return self.network.apply(variables, state_lib.shard_batch(images), method="with_features")

    def gradients(
        self, variables: Any, real: jax.Array, fake: jax.Array, key: jax.Array
    ) -> tuple[Any, Any, dict[str, jax.Array]]:
        """The gradient of the discriminator's loss, without R1.

        Args:
          real, fake: images as they are seen; fake ones are constants.

        Returns:
          The gradient of the parameters, `batch_stats` after this pass ({} without), metrics.
        """
        _, kept = split(variables)

        def loss(params: Any) -> tuple[jax.Array, tuple[Any, dict[str, jax.Array]]]:
            both = state_lib.shard_batch(jnp.concatenate([real, fake]))
            judged, stats = self.network.apply(
                {"params": params, **kept}, both, update_stats=True, mutable=["batch_stats"]
            )
            halves = (tuple(x[part] for x in judged) for part in halves_of(len(real)))
            value = adversarial.discriminator_loss(self.settings.loss, *halves)
            metrics = {"d_loss": value}
            if self.settings.loss == "wgangp":
                penalty = adversarial.gradient_penalty(
                    lambda x: self.logits({"params": params, **kept}, x), real, fake, key
                )
                metrics["gradient_penalty"] = penalty
                value = value + self.settings.gradient_penalty_weight * penalty
            return value, (stats, metrics)

        grads, (stats, metrics) = jax.grad(loss, has_aux=True)(variables["params"])
        return grads, stats, metrics

    def with_r1(
        self, grads: Any, variables: Any, real: jax.Array, step: jax.Array, last: jax.Array
    ) -> tuple[Any, jax.Array]:
        """Adds the gradient of R1 at every `r1_every`-th step, as many times as strong.

        So its mean over steps is that of r1_gamma / 2 |gradient|^2 at every step (Karras et al.,
        arXiv:1912.04958). It is taken at real images as they are seen, augmented, since those are
        what the discriminator is trained to call real.

        Args:
          last: |gradient|^2 at the last step that computed it.

        Returns:
          The sum of gradients, and |gradient|^2, or `last` at the steps between.
        """
        settings, (_, kept) = self.settings, split(variables)

        def penalty(params: Any) -> tuple[jax.Array, jax.Array]:
            value = adversarial.r1(lambda x: self.logits({"params": params, **kept}, x), real)
            return 0.5 * settings.r1_gamma * settings.r1_every * value, value

        def add(grads: Any) -> tuple[Any, jax.Array]:
            more, value = jax.grad(penalty, has_aux=True)(variables["params"])
            return jax.tree.map(jnp.add, grads, more), value

        due = step % settings.r1_every == 0
        return jax.lax.cond(due, add, lambda grads: (grads, last), grads)


def split(variables: Any) -> tuple[Any, dict[str, Any]]:
    """The parameters, and the other collections."""
    return variables["params"], {k: v for k, v in variables.items() if k != "params"}


def halves_of(n: int) -> tuple[slice, slice]:
    """The first n rows, and the others."""
    return slice(None, n), slice(n, None)
