"""A variational autoencoder: images are compressed to latents, on which generators can train.

The encoder gives a mean and a log-variance of each latent; the decoder reconstructs the image from
a draw (Kingma and Welling, arXiv:1312.6114). `losses.per_image` is what training minimises, with a
small weight of the Kullback-Leibler divergence (Rombach et al., arXiv:2112.10752).
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from drifting.core import durations, gaussian, optimizers
from drifting.core import method as bases
from drifting.core import state as state_lib
from drifting.core.errors import ConfigError
from drifting.core.facts import DataFacts
from drifting.core.fidelity import psnr
from drifting.core.method import Grid, Scored
from drifting.core.networks import Encoder
from drifting.core.state import TrainState
from drifting.methods import batches, gradients
from drifting.methods.autoencoder import adversarial, equivariance, losses
from drifting.methods.autoencoder.adversarial import Adversary, DiscriminatorSettings
from drifting.methods.autoencoder.settings import Settings
from input_pipeline.data import Data
from input_pipeline.space import Pixels
from models.activations import Activations, stage_maps

ROWS, COLUMNS = 4, 8  # of the visual summaries

Metrics = dict[str, jax.Array]
Rows = tuple[jax.Array, jax.Array]  # images and noise


class Common(NamedTuple):
    """What all images of a step share.

    Attributes:
      encoder: the parameters of the network in whose features they are compared, or None.
      transform: of images and latents, see `equivariance.draw`; None for none.
    """

    encoder: Any
    transform: tuple[jax.Array, jax.Array] | None


@dataclasses.dataclass(frozen=True, eq=False)
class Autoencoder(Scored, bases.Autoencoder):
    """An encoder and a decoder, which are trained together.

    Attributes:
      adversary: the discriminator of reconstructions; None without one.
      encode: the network in whose features reconstructions are compared; None without one.
    """

    adversary: Adversary | None = None
    encode: Callable[[Any, jax.Array], Activations] | None = None

    settings_type = Settings
    family = "autoencoder"
    default_network = "autoencoder_kl"
    network_name = "autoencoder"
    sections: ClassVar[Mapping[str, Any]] = {"discriminator": DiscriminatorSettings()}
    default_optimizers: ClassVar[Mapping[str, Any]] = {
        "optimizer": optimizers.AdamW(
            learning_rate=1e-3, beta2=0.999, weight_decay=1e-5, clip_norm=0.0
        ),
        "discriminator_optimizer": optimizers.AdamW(
            beta1=0.5, beta2=0.9, weight_decay=0.0, clip_norm=0.0
        ),
    }
    defaults: ClassVar[Mapping[str, Any]] = {
        "data.num_val": 1000,
        "eval.metrics": ("fid", "psnr"),  # of reconstructions
        "eval.cfg_scale": 1.0,
        "train.total_steps": 200_000,
        "train.sample_steps": 2000,
        "train.checkpoint_steps": 5000,
    }
    plotted: ClassVar[tuple[str, ...]] = ("loss", "recons_err", "kl")
    best_score = None  # the error keeps falling, so the newest checkpoint is the best
    replaceable = ("discriminator",)  # a run may be resumed with one
    streams = True

    @classmethod
    def from_config(
        cls, config: Any, facts: DataFacts, frozen: Mapping[str, Encoder] | None = None
    ) -> "Autoencoder":
        """See `Method.from_config`; also builds the discriminator."""
        method = super().from_config(config, facts, frozen)
        if encoder := (frozen or {}).get("encoder"):
            method = dataclasses.replace(method, encode=encoder.encode)
        total = durations.to_steps(config.train, "total", method.images_per_step, facts.num_samples)
        made = adversarial.make(config, facts.space.shape, total, method.network.last_layer)
        if made is None:
            return method
        if share := method.settings.equivariance_probability:
            raise ConfigError(
                f"config.method.equivariance_probability = {share} does not go together with "
                "config.discriminator.weight above 0; set one of them to 0.0"
            )
        adversary, optimizer = made
        both = {**method.optimizers, "discriminator": optimizer}
        return dataclasses.replace(method, adversary=adversary, optimizers=both)

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """[h, w, z] of the latents of one image."""
        return self.network.latent_shape(*self.space.shape[:2])

    # --- training --------------------------------------------------------------------------------

    def init(self, key: jax.Array) -> TrainState:
        """A fresh state at step 0."""
        images = jnp.zeros((1, *self.space.shape))
        params = {"autoencoder": self.network.init(key, images)["params"]}
        if self.adversary:
            key = jax.random.fold_in(key, 1)
            params["discriminator"] = self.adversary.network.init(key, images)["params"]
        return TrainState.create(params, self.optimizers, self.decays)

    def train_step(
        self, state: TrainState, data: Data, key: jax.Array, frozen: Mapping[str, Any]
    ) -> tuple[TrainState, Metrics]:
        """One step on the next batch of an endless stream of shuffled epochs."""
        key_augment, key_noise, key_transform = jax.random.split(key, 3)
        images, _ = batches.augmented_batch(
            data, state.step, key_augment, seed=self.seed, batch_size=self.batch_size,
            crop_padding=0, flip=self.flip,
        )  # fmt: skip
        # Drawn for the whole batch, so that a batch in parts is the same step.
        noise = jax.random.normal(key_noise, (len(images), *self.latent_shape))
        rows, common = (images, noise), Common(frozen.get("encoder"), None)
        if share := self.settings.equivariance_probability:
            drawn = equivariance.draw(key_transform, share, self.latent_shape[0])
            common = common._replace(transform=drawn)

        def step(gradients_of: Callable, state: TrainState) -> tuple[TrainState, Metrics]:
            grads, metrics = gradients_of(state.params, rows, common)
            norm = optax.tree.norm(grads["autoencoder"])
            metrics |= {"grad_norm": norm, "lr": self.schedule(state.step)}
            if "logvar" in state.params["autoencoder"]:
                metrics["logvar"] = state.params["autoencoder"]["logvar"]
            return state_lib.optimize(state, grads, self.optimizers), metrics

        alone = functools.partial(step, self._gradients_alone)
        if self.adversary:
            judged = functools.partial(step, self._gradients_with_adversary)
            started = state.step >= self.adversary.settings.start_step
            state, metrics = jax.lax.cond(started, judged, alone, state)
        else:
            state, metrics = alone(state)
        return state_lib.count(state_lib.average(state, self.decays)), metrics

    def _gradients_alone(
        self, params: Any, rows: Rows, common: Common
    ) -> tuple[dict[str, Any], Metrics]:
        """The gradient of the autoencoder's own loss, by network, and metrics."""

        def mean_loss(params: Any, *rows: jax.Array) -> tuple[jax.Array, Metrics]:
            metrics, _ = self._mean_losses(params, *rows, common)
            return metrics["loss"], metrics

        gradient = jax.grad(mean_loss, has_aux=True)
        own, metrics = self._over_parts(lambda *r: gradient(params["autoencoder"], *r), rows)
        return {"autoencoder": own}, metrics | (self.adversary.idle() if self.adversary else {})

    def _gradients_with_adversary(
        self, params: Any, rows: Rows, common: Common
    ) -> tuple[dict[str, Any], Metrics]:
        """The gradients of both networks, and metrics."""

        def of_part(images: jax.Array, noise: jax.Array) -> tuple[dict[str, Any], Metrics]:
            return self.adversary.gradients(
                lambda own: self._mean_losses(own, images, noise, common), params, images
            )

        found, metrics = self._over_parts(of_part, rows)
        grads, factor = self.adversary.combined(found)
        return grads, metrics | {"adversarial_weight": factor}

    def _over_parts(self, function: Callable, rows: Rows) -> Any:
        """The mean of function(*rows) over the micro-batches; nothing in it is drawn."""
        return gradients.mean_over_chunks(
            lambda rows, _: function(*rows), rows, jax.random.key(0), self.settings.micro_batches
        )

    def _mean_losses(
        self, params: Any, images: jax.Array, noise: jax.Array, common: Common
    ) -> tuple[Metrics, jax.Array | None]:
        """Means over images [B, H, W, C] of what `losses.per_image` says, and reconstructions.

        Args:
          noise: standard normal draws [B, h, w, z].

        Returns:
          None for the reconstructions where images and latents are transformed.
        """
        images = state_lib.shard_batch(images)
        moments = self.moments(params, images)
        latents, rebuilt = gaussian.latents(moments, noise), None
        if common.transform is not None:
            error = equivariance.under(
                common.transform, functools.partial(self._error_per_value, params), images, latents
            )
            found = self._losses(params, self.space.size * error, moments)
        else:
            rebuilt = self.decode(params, latents)
            error = losses.summed(self.settings.loss, images, rebuilt)
            distance = None
            if self.encode is not None:
                maps = (stage_maps(self.encode(common.encoder, x)) for x in (images, rebuilt))
                distance = losses.feature_distance(*maps)
            found = self._losses(params, error, moments, distance)
        return jax.tree.map(jnp.mean, found), rebuilt

    def _error_per_value(self, params: Any, images: jax.Array, latents: jax.Array) -> jax.Array:
        error = losses.summed(self.settings.loss, images, self.decode(params, latents))
        return error / images[0].size

    def _losses(
        self,
        params: Any,
        recons_err: jax.Array,
        moments: jax.Array,
        distance: jax.Array | None = None,
    ) -> Metrics:
        """See `losses.per_image`; with a distance in features, [B], it is logged as well."""
        weight = self.settings.perceptual_weight
        found = losses.per_image(
            recons_err, moments, params.get("logvar", 0.0), values=self.space.size,
            kl_weight=self.settings.kl_weight,
            features=0.0 if distance is None else weight * distance,
        )  # fmt: skip
        return found if distance is None else found | {"perceptual": distance}

    # --- scores and pictures ---------------------------------------------------------------------

    def tally(
        self,
        state: TrainState,
        images: jax.Array,
        labels: jax.Array,
        weight: jax.Array,
        key: jax.Array,
    ) -> dict[str, jax.Array]:
        """Sums over images [B, H, W, C], weighted by [B], of the EMA weights, without noise."""
        del labels, key
        params, images = self.autoencoder(state), state_lib.shard_batch(images)
        moments = self.moments(params, images)
        rebuilt = self.decode(params, gaussian.split(moments)[0])
        error = losses.summed(self.settings.loss, images, rebuilt)
        scores = {"recons_err": error, "kl": gaussian.kl(moments)}
        if isinstance(self.space, Pixels):
            stored = (self.space.to_stored(x) for x in (images, rebuilt))
            scores["psnr"] = psnr(*stored)
        return {"count": jnp.sum(weight), **{k: jnp.sum(weight * v) for k, v in scores.items()}}

    def scores(self, sums: dict[str, np.ndarray]) -> dict[str, float]:
        """Means over images: `recons_err` and `kl` as in `losses.per_image`, `psnr` in dB."""
        return {k: float(v / sums["count"]) for k, v in sums.items() if k != "count"}

    def summaries(
        self, state: TrainState, key: jax.Array, data: Data, frozen: Mapping[str, Any]
    ) -> dict[str, Grid]:
        """Images above their reconstructions, and latents drawn from N(0, 1) and decoded."""
        params = self.autoencoder(state)
        key_draw, key_noise = jax.random.split(key)
        images, _ = data.draw(key_draw, ROWS // 2 * COLUMNS)
        both = jnp.stack([self._in_rows(x) for x in (images, self.reconstruct(params, images))], 1)
        latents = jax.random.normal(key_noise, (ROWS * COLUMNS, *self.latent_shape))
        shown = {
            "reconstructions": both.reshape(ROWS, *both.shape[2:]),
            "samples": self._in_rows(self.decode(params, latents)),
        }
        return {k: Grid(self.space.to_picture(v, frozen)) for k, v in shown.items()}

    def _in_rows(self, images: jax.Array) -> jax.Array:
        """[rows, COLUMNS, H, W, C]."""
        return images.reshape(-1, COLUMNS, *images.shape[1:])

    # --- as an autoencoder -----------------------------------------------------------------------

    def autoencoder(self, state: TrainState, ema: bool = True) -> Any:
        """The weights, averaged unless `ema` is false."""
        return state.weights("autoencoder", ema)

    def moments(self, parameters: Any, images: jax.Array) -> jax.Array:
        """Mean and log-variance of the latents of images [B, H, W, C]: [B, h, w, 2 z]."""
        return self.network.apply({"params": parameters}, images, method="encode")

    def decode(self, parameters: Any, latents: jax.Array) -> jax.Array:
        """Images [B, H, W, C], approximately in [-1, 1], of latents [B, h, w, z]."""
        return self.network.apply({"params": parameters}, latents, method="decode")
