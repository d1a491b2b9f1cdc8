"""CUT: contrastive unpaired translation (Park et al., arXiv:2007.15651).

A discriminator makes translations look like images of the target domain; PatchNCE makes each patch
of a translation resemble the same patch of the input more than other patches of it, by features of
the generator itself. One step updates the discriminator, then the generator and the patch heads
against the updated discriminator, as the release does (github.com/taesungp/
contrastive-unpaired-translation); translations are computed once for both.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax

from drifting.core import config as config_lib
from drifting.core import durations, optimizers
from drifting.core import state as state_lib
from drifting.core.errors import ConfigError
from drifting.core.facts import DataFacts
from drifting.core.method import SOURCE, Grid, Translator
from drifting.core.networks import Encoder
from drifting.core.state import TrainState
from drifting.losses.weights import warm_down
from drifting.methods.cut import draws
from drifting.methods.cut.draws import Keys
from drifting.methods.cut.judge import Judge, split
from drifting.methods.cut.objective import Given, Objective
from drifting.methods.cut.settings import DiscriminatorSettings, Settings
from input_pipeline.data import Data
from models.patch_heads import PatchHeads

ROWS, COLUMNS = 4, 6  # of the visual summaries

Metrics = dict[str, jax.Array]
ADAM = optimizers.AdamW(
    learning_rate=2e-4, schedule="cosine", final_learning_rate=5e-5, warmup_steps=0,
    beta1=0.5, beta2=0.999, weight_decay=0.0, clip_norm=10.0,
)  # fmt: skip


@dataclasses.dataclass(frozen=True, eq=False)
class CUT(Translator):
    """A generator, patch heads and a discriminator, which are trained together.

    Attributes:
      objective: what the generator and the heads minimise.
      total_steps: the length of the run, over which the weight of the identity falls.
    """

    objective: Objective | None = None
    total_steps: int = 1

    settings_type = Settings
    family = "translator"
    default_network = "resnet_generator"
    network_name = "generator"
    sections: ClassVar[Mapping[str, Any]] = {"discriminator": DiscriminatorSettings()}
    default_optimizers: ClassVar[Mapping[str, Any]] = {
        "optimizer": ADAM,
        "discriminator_optimizer": ADAM,
    }
    defaults: ClassVar[Mapping[str, Any]] = {
        "data.flip": True,
        "eval.cfg_scale": 1.0,  # there is no guidance
        "eval.metrics": ("fid", "mifid", "content"),
    }
    plotted: ClassVar[tuple[str, ...]] = ("g_loss", "d_loss", "nce")
    large_maps = True
    terms: ClassVar[tuple[str, ...]] = (
        "d_loss", "gradient_penalty", "r1", "d_grad_norm", "nce", "nce_idt", "identity", "g_adv",
        "feature_matching", "palette", "repulsion", "loss", "grad_norm",
    )  # fmt: skip

    @classmethod
    def from_config(
        cls, config: Any, facts: DataFacts, frozen: Mapping[str, Encoder] | None = None
    ) -> "CUT":
        """See `Method.from_config`; also builds the other networks and their optimisers."""
        method = super().from_config(config, facts, frozen)
        settings, dtype = method.settings, jnp.dtype(config.precision)
        total = durations.to_steps(config.train, "total", method.images_per_step, facts.num_samples)
        section = "discriminator_optimizer"
        other, _ = optimizers.make_optimizer(config[section], total, section)
        own = method.optimizers["generator"]
        both = {"generator": own, "patch_heads": own, "discriminator": other}
        kind = config_lib.typed(DiscriminatorSettings, config.discriminator, "discriminator")
        encoder = (frozen or {}).get("encoder")
        objective = Objective(
            settings=settings,
            generator=method.network,
            heads=PatchHeads(settings.patch_width, config.model.initializer, dtype),
            judge=Judge(settings, kind.network(facts.space.shape, dtype)),
            encode=encoder.encode if encoder else None,
        )
        made = dataclasses.replace(method, optimizers=both, objective=objective, total_steps=total)
        made.map_channels()  # raises for unknown taps
        return made

    def map_channels(self) -> tuple[int, ...]:
        """The channels of the maps at `taps`; ConfigError if the generator lacks one."""
        taps = self.settings.taps

        def maps(key: jax.Array) -> Any:
            images = jnp.zeros((1, *self.space.shape))
            return self.network.init_with_output(key, images, taps, method="features")[0]

        try:
            found = jax.eval_shape(maps, jax.random.key(0))
        except ValueError as error:
            raise ConfigError(f"config.method.taps = {taps}: {error}") from error
        return tuple(x.shape[-1] for x in found)

    # --- training --------------------------------------------------------------------------------

    def init(self, key: jax.Array) -> TrainState:
        """A fresh state at step 0; the heads are made from the shapes of maps, not from images."""
        keys = jax.random.split(key, 3)
        images = jnp.zeros((1, *self.space.shape))
        patches = tuple(jnp.zeros((1, 1, channels)) for channels in self.map_channels())
        discriminator, kept = split(self.objective.judge.network.init(keys[2], images))
        params = {
            "generator": self.network.init(keys[0], images)["params"],
            "patch_heads": self.objective.heads.init(keys[1], patches)["params"],
            "discriminator": discriminator,
        }
        extra = {"r1": jnp.zeros(()), "discriminator": kept}
        return TrainState.create(params, self.optimizers, self.decays, extra)

    def train_step(
        self, state: TrainState, data: Data, key: jax.Array, frozen: Mapping[str, Any]
    ) -> tuple[TrainState, Metrics]:
        """One step of both sides, on the next batch of either domain's own stream of epochs."""
        keys, settings = Keys.of(key), self.settings
        source, target = draws.images(
            data, state.step, keys, settings, seed=self.seed, flip=self.flip
        )
        shown = jnp.concatenate([source, target]) if settings.translates_targets else source
        mirrored = jax.random.bernoulli(keys.mirror) if settings.flip_equivariance else None
        inputs = shown if mirrored is None else jnp.where(mirrored, shown[:, :, ::-1], shown)
        generator = state.params["generator"]
        made, pull_back, maps = jax.vjp(
            lambda params: self.objective.translate(params, inputs), generator, has_aux=True
        )
        if mirrored is not None:  # the patches of the inputs as they are
            maps = jax.lax.cond(
                mirrored, lambda: self.objective.features(generator, shown), lambda: maps
            )
        fake = jax.lax.stop_gradient(made[: settings.batch_size])
        state, judged = self._update_judge(state, target, fake, keys.judged)

        places = self.objective.places(keys.places, maps)
        given = Given(
            inputs=inputs,
            target=target,
            mirrored=mirrored,
            places=places,
            keys=self.objective.vectors(state.params["patch_heads"], maps, places),
            judge=self._judge_variables(state),
            encoder=frozen.get("encoder"),
            identity_weight=warm_down(state.step, settings.identity_weight, self.total_steps),
            key=keys.shown,
        )
        state, metrics = self._update_generator(state, made, pull_back, given)
        state = state_lib.average(state, self.decays, settings.ema_start)
        return state_lib.count(state), judged | metrics

    def _judge_variables(self, state: TrainState) -> Any:
        return {"params": state.params["discriminator"], **state.extra["discriminator"]}

    def _update_judge(
        self, state: TrainState, real: jax.Array, fake: jax.Array, key: jax.Array
    ) -> tuple[TrainState, Metrics]:
        """The state after the discriminator's update, which leaves the other networks alone."""
        judge, variables = self.objective.judge, self._judge_variables(state)
        key_real, key_fake, key_penalty = jax.random.split(key, 3)
        real, fake = judge.seen(key_real, real), judge.seen(key_fake, fake)
        grads, kept, metrics = judge.gradients(variables, real, fake, key_penalty)
        extra = {"r1": state.extra["r1"], "discriminator": kept}
        if self.settings.r1_gamma:
            grads, extra["r1"] = judge.with_r1(grads, variables, real, state.step, extra["r1"])
            metrics["r1"] = extra["r1"]
        metrics["d_grad_norm"] = optax.tree.norm(grads)
        state = state_lib.optimize(state, {"discriminator": grads}, self.optimizers)
        return state.replace(extra=extra), metrics

    def _update_generator(
        self, state: TrainState, made: jax.Array, pull_back: Any, given: Given
    ) -> tuple[TrainState, Metrics]:
        """The state after the update of the generator and the heads.

        Args:
          made: the generator's output for `given.inputs`.
          pull_back: from a gradient of `made` to that of the generator's parameters.
        """
        grads, (loss, terms) = _gradients(self.objective, state.params, made, given)
        (through,) = pull_back(grads.pop("made"))
        grads["generator"] = jax.tree.map(jnp.add, grads["generator"], through)
        metrics = {"loss": loss, "g_loss": loss, **terms}
        metrics |= {"grad_norm": optax.tree.norm(grads["generator"])}
        metrics |= {"lr": self.schedule(state.step)}
        return state_lib.optimize(state, grads, self.optimizers), metrics

    # --- translation -----------------------------------------------------------------------------

    def translate(self, state: TrainState, images: jax.Array, ema: bool = True) -> jax.Array:
        """Images [B, H, W, C] in [-1, 1] of the target domain; sides are multiples of 4.

        Raises:
          ValueError: while tracing, for other sides.
        """
        params = state.weights("generator", ema)
        return self.network.apply({"params": params}, state_lib.shard_batch(images))

    def summaries(
        self, state: TrainState, key: jax.Array, data: Data, frozen: Mapping[str, Any]
    ) -> dict[str, Grid]:
        """Source images above their translations, by the averaged weights."""
        num = ROWS // 2 * COLUMNS
        images = data.positives(key, jnp.array([SOURCE]), num)[0]
        pairs = [
            x.reshape(-1, COLUMNS, *x.shape[1:]) for x in (images, self.translate(state, images))
        ]
        both = jnp.stack(pairs, axis=1)  # [rows of pairs, 2, COLUMNS, H, W, C]
        shown = both.reshape(ROWS, *both.shape[2:])
        return {"translations": Grid(self.space.to_picture(shown, frozen))}


def _gradients(
    objective: Objective, params: Mapping[str, Any], made: jax.Array, given: Given
) -> tuple[dict[str, Any], tuple[jax.Array, Metrics]]:
    """The gradients of `made`, generator and patch_heads, by name; the loss and its terms."""
    (loss, terms), (of_made, generator, heads) = jax.value_and_grad(
        lambda *minimised: objective.loss(*minimised, given), argnums=(0, 1, 2), has_aux=True
    )(made, params["generator"], params["patch_heads"])
    return {"made": of_made, "generator": generator, "patch_heads": heads}, (loss, terms)
