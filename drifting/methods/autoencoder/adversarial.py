"""A discriminator that makes reconstructions sharp: its losses and the weight that they get.

Esser et al., "Taming Transformers for High-Resolution Image Synthesis" (arXiv:2012.09841). The
gradient that the autoencoder follows is that of its own loss plus

    weight * lambda * gradient of -mean(D(reconstruction)),
    lambda = |own gradient| / (|gradient of -mean(D)| + 1e-4), at most 1e4,

where the norms are those of the last layer of the decoder (equation 7). The discriminator follows
the hinge loss.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from drifting.core import config as config_lib
from drifting.core import optimizers
from drifting.core import state as state_lib
from drifting.core.errors import ConfigError
from drifting.losses import adversarial as losses
from models.patchgan import PatchGAN

MOST = 1e4  # of lambda
METRICS = ("adversarial_loss", "discriminator_loss", "adversarial_weight")

MeanLosses = Callable[[Any], tuple[dict[str, jax.Array], jax.Array]]


@dataclasses.dataclass(frozen=True)
class DiscriminatorSettings:
    """The keys of config.discriminator."""

    weight: float = 0.0  # of its part of the autoencoder's gradient; 0: no discriminator
    start_step: int = 50_000  # it is neither trained nor followed before this step
    width: int = 64  # channels of its first convolution
    layers: int = 3  # convolutions of stride 2; 3: each judgement is of 70x70 pixels

    def check(self, total_steps: int) -> None:
        """Raises ConfigError, naming the key, for a value out of range."""
        if self.weight < 0.0:
            raise ConfigError(
                f"config.discriminator.weight = {self.weight} is negative; set 0 or more"
            )
        if self.weight and not 0 <= self.start_step < total_steps:
            raise ConfigError(
                f"config.discriminator.start_step = {self.start_step} is not a step of the "
                f"{total_steps} of this run, so the discriminator would have no effect; lower it, "
                "or set config.discriminator.weight=0.0"
            )

    def network(self, shape: Sequence[int], dtype: Any) -> PatchGAN:
        """The discriminator of images of `shape`; ConfigError if they are too small for it."""
        network = PatchGAN(self.width, self.layers, initializer="normal", dtype=dtype)
        try:
            jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, *shape)))
        except ValueError as error:
            raise ConfigError(f"config.discriminator.layers: {error}; choose fewer") from error
        return network


def adaptive_weight(own: jax.Array, adversarial: jax.Array) -> jax.Array:
    """Lambda, from the two gradients of the last layer of the decoder."""
    ratio = jnp.linalg.norm(own.ravel()) / (jnp.linalg.norm(adversarial.ravel()) + 1e-4)
    return jnp.minimum(ratio, MOST)


@dataclasses.dataclass(frozen=True, eq=False)
class Adversary:
    """A discriminator and the gradients that it takes part in.

    Attributes:
      settings: config.discriminator.
      network: from images to logits.
      last_layer: the path to the decoder's last kernel in the autoencoder's parameters.
    """

    settings: DiscriminatorSettings
    network: PatchGAN
    last_layer: tuple[str, ...]

    def idle(self) -> dict[str, jax.Array]:
        """The metrics before the first step of the discriminator."""
        return dict.fromkeys(METRICS, jnp.float32(0.0))

    def gradients(
        self, mean_losses: MeanLosses, params: Mapping[str, Any], images: jax.Array
    ) -> tuple[dict[str, Any], dict[str, jax.Array]]:
        """Of a part of a batch, what `combined` puts together, and metrics; both are means.

        Args:
          mean_losses: parameters of the autoencoder -> its metrics, among them `loss`, and the
            reconstructions.
          params: of both networks.
        """

        def both(own: Any) -> tuple[tuple[jax.Array, jax.Array], Any]:
            metrics, fake = mean_losses(own)
            adversarial = losses.generator_loss("hinge", self._logits(params, fake))
            return (metrics["loss"], adversarial), (metrics, fake)

        (loss, adversarial), pull_back, (metrics, fake) = jax.vjp(
            both, params["autoencoder"], has_aux=True
        )
        one, zero = jnp.ones_like(loss), jnp.zeros_like(loss)
        fake = jax.lax.stop_gradient(fake)

        def judging(discriminator: Any) -> jax.Array:
            judged = (self._logits({"discriminator": discriminator}, x) for x in (images, fake))
            return losses.discriminator_loss("hinge", *judged)

        judging_loss, judging_grads = jax.value_and_grad(judging)(params["discriminator"])
        grads = {
            "own": pull_back((one, zero))[0],
            "adversarial": pull_back((zero, one))[0],
            "discriminator": judging_grads,
        }
        logged = {"adversarial_loss": adversarial, "discriminator_loss": judging_loss}
        return grads, metrics | logged

    def combined(self, grads: Mapping[str, Any]) -> tuple[dict[str, Any], jax.Array]:
        """The gradient of each network, and lambda, from the means over a batch."""
        last = (functools.reduce(lambda tree, key: tree[key], self.last_layer, grads[name])
                for name in ("own", "adversarial"))  # fmt: skip
        factor = adaptive_weight(*last)
        share = self.settings.weight * factor
        own = jax.tree.map(lambda a, b: a + share * b, grads["own"], grads["adversarial"])
        return {"autoencoder": own, "discriminator": grads["discriminator"]}, factor

    def _logits(self, params: Mapping[str, Any], images: jax.Array) -> jax.Array:
        images = state_lib.shard_batch(images)
        (logits,) = self.network.apply({"params": params["discriminator"]}, images)
        return logits


def make(
    config: Any, shape: Sequence[int], total_steps: int, last_layer: tuple[str, ...]
) -> tuple[Adversary, optax.GradientTransformation] | None:
    """The discriminator of a config and its optimiser; None if its weight is 0.

    Args:
      shape: of the images, [H, W, C].
      total_steps: the length of the run.

    Raises:
      ConfigError: a value is out of range; the message names the key.
    """
    settings = config_lib.typed(DiscriminatorSettings, config.discriminator, "discriminator")
    settings.check(total_steps)
    if not settings.weight:
        return None
    section = "discriminator_optimizer"
    steps = total_steps - settings.start_step
    optimizer, _ = optimizers.make_optimizer(config[section], steps, section)
    network = settings.network(shape, jnp.dtype(config.precision))
    return Adversary(settings, network, last_layer), optimizer
