"""A variational autoencoder: images are compressed to latents, on which generators can train.

The encoder gives a mean and a log-variance of each latent; the decoder reconstructs the image from
a draw (Kingma and Welling, arXiv:1312.6114). `losses.per_image` is what training minimises, with a
small weight of the Kullback-Leibler divergence (Rombach et al., arXiv:2112.10752).
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax

from drifting.core import gaussian, optimizers
from drifting.core import method as bases
from drifting.core import state as state_lib
from drifting.core.method import Grid, Scored
from drifting.core.state import TrainState
from drifting.methods import batches, gradients
from drifting.methods.autoencoder import losses
from drifting.methods.autoencoder.settings import Settings
from input_pipeline.data import Data
from input_pipeline.space import Pixels

ROWS, COLUMNS = 4, 8  # of the visual summaries


@dataclasses.dataclass(frozen=True, eq=False)
class Autoencoder(Scored, bases.Autoencoder):
    """An encoder and a decoder, which are trained together."""

    settings_type = Settings
    family = "autoencoder"
    default_network = "autoencoder_kl"
    network_name = "autoencoder"
    default_optimizers: ClassVar[Mapping[str, Any]] = {
        "optimizer": optimizers.AdamW(
            learning_rate=1e-3, beta2=0.999, weight_decay=1e-5, clip_norm=0.0
        )
    }
    defaults: ClassVar[Mapping[str, Any]] = {
        "data.num_val": 1000,
        "train.total_steps": 200_000,
        "train.sample_steps": 2000,
        "train.checkpoint_steps": 5000,
    }
    plotted: ClassVar[tuple[str, ...]] = ("loss", "recons_err", "kl")
    best_score = None  # the error keeps falling, so the newest checkpoint is the best
    streams = True

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """[h, w, z] of the latents of one image."""
        return self.network.latent_shape(*self.space.shape[:2])

    # --- training --------------------------------------------------------------------------------

    def init(self, key: jax.Array) -> TrainState:
        """A fresh state at step 0."""
        variables = self.network.init(key, jnp.zeros((1, *self.space.shape)))
        params = {"autoencoder": variables["params"]}
        return TrainState.create(params, self.optimizers, self.decays)

    def train_step(
        self, state: TrainState, data: Data, key: jax.Array, frozen: Mapping[str, Any]
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        """One step on the next batch of an endless stream of shuffled epochs."""
        del frozen
        key_augment, key_noise, key_parts = jax.random.split(key, 3)
        images, _ = batches.augmented_batch(
            data, state.step, key_augment, seed=self.seed, batch_size=self.batch_size,
            crop_padding=0, flip=self.flip,
        )  # fmt: skip
        # Drawn for the whole batch, so that a batch in parts is the same step.
        noise = jax.random.normal(key_noise, (len(images), *self.latent_shape))
        params = state.params["autoencoder"]

        def mean_loss(params, images, noise):
            found = jax.tree.map(jnp.mean, self.losses(params, images, noise))
            return found["loss"], found

        grads, metrics = gradients.mean_over_chunks(
            lambda rows, _: jax.grad(mean_loss, has_aux=True)(params, *rows),
            (images, noise), key_parts, self.settings.micro_batches,
        )  # fmt: skip
        if "logvar" in params:
            metrics["logvar"] = params["logvar"]
        metrics |= {"grad_norm": optax.tree.norm(grads), "lr": self.schedule(state.step)}
        state = state_lib.optimize(state, {"autoencoder": grads}, self.optimizers)
        return state_lib.count(state_lib.average(state, self.decays)), metrics

    def losses(self, params: Any, images: jax.Array, noise: jax.Array) -> dict[str, jax.Array]:
        """The losses of images [B, H, W, C] with standard normal draws [B, h, w, z]: [B] each."""
        images = state_lib.shard_batch(images)
        moments = self.moments(params, images)
        rebuilt = self.decode(params, gaussian.latents(moments, noise))
        return self._compare(params, images, rebuilt, moments)

    def _compare(
        self, params: Any, images: jax.Array, rebuilt: jax.Array, moments: jax.Array
    ) -> dict[str, jax.Array]:
        return losses.per_image(
            images, rebuilt, moments, params.get("logvar", 0.0),
            error=self.settings.loss, kl_weight=self.settings.kl_weight,
        )  # fmt: skip

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
        found = self._compare(params, images, rebuilt, moments)
        scores = {name: found[name] for name in ("recons_err", "kl")}
        if isinstance(self.space, Pixels):
            stored = (self.space.to_stored(x) for x in (images, rebuilt))
            scores["psnr"] = losses.psnr(*stored)
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

    def autoencoder(self, state: TrainState) -> Any:
        """The EMA weights."""
        return state.weights("autoencoder")

    def moments(self, parameters: Any, images: jax.Array) -> jax.Array:
        """Mean and log-variance of the latents of images [B, H, W, C]: [B, h, w, 2 z]."""
        return self.network.apply({"params": parameters}, images, method="encode")

    def decode(self, parameters: Any, latents: jax.Array) -> jax.Array:
        """Images [B, H, W, C], approximately in [-1, 1], of latents [B, h, w, z]."""
        return self.network.apply({"params": parameters}, latents, method="decode")

    def reconstruct(self, parameters: Any, images: jax.Array) -> jax.Array:
        """Images [B, H, W, C] decoded from the means of their latents."""
        return self.decode(parameters, gaussian.split(self.moments(parameters, images))[0])
