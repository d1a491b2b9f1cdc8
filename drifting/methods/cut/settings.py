"""The keys of config.method and config.discriminator, and their checks."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from drifting.core.errors import ConfigError, one_of
from drifting.core.facts import DataFacts
from drifting.core.method import MethodSettings
from drifting.losses import adversarial, diff_augment
from input_pipeline.space import Pixels
from models.patchgan import PatchGAN
from models.resnet_generator import TAPS


@dataclasses.dataclass(frozen=True)
class Settings(MethodSettings):
    """The keys of config.method."""

    batch_size: int = 12  # images of each domain per step
    crop_scale: float = 0.85  # least share of an image's area in a random crop; 1.0: no crops
    color_jitter: float = 0.05  # of brightness, contrast and saturation; 0.0: none
    # Mirrors all inputs of half of the steps; their features are mirrored back to be compared.
    flip_equivariance: bool = False

    loss: str = "hinge"  # or lsgan, vanilla, nonsaturating, wgangp (losses/adversarial.py)
    adversarial_weight: float = 1.0
    diff_augment: tuple[str, ...] = diff_augment.POLICY  # of what the discriminator sees; (): none
    r1_gamma: float = 10.0  # of gamma / 2 |gradient|^2 at real images; 0.0: none
    r1_every: int = 16  # steps; its gradient is multiplied by as many
    gradient_penalty_weight: float = 10.0  # with loss = wgangp

    nce_weight: float = 1.0  # of PatchNCE, the mean over `taps`
    nce_idt: bool = False  # PatchNCE also of translated target images, with half the weight each
    taps: tuple[str, ...] = TAPS  # maps of the generator whose patches are compared
    num_patches: int = 256  # of each map and image
    patch_width: int = 256  # of the heads' layers
    temperature: float = 0.07
    nce_epsilon: float = 1e-6  # added to the norm of a feature
    nce_clamp: float = 50.0  # of the logits, either way; 0.0: none
    nce_across_batch: bool = False  # compare with the patches of all images, not of one

    # Of mean |G(y) - y| for target images y, at step 0; it falls along a line to 0 at the end.
    identity_weight: float = 0.1

    feature_matching_weight: float = 0.0  # of the difference of the discriminator's mean maps
    palette_weight: float = 0.0  # of the difference to the colours of target images, in CIELAB
    repulsion_weight: float = 0.0  # of the nearness of translations in the encoder's features
    repulsion_neighbours: int = 1  # how many of the nearest
    repulsion_margin: float = 0.5  # distance of features of length one from which nothing repels
    encoder: str = ""  # workdir of a classifier or masked autoencoder (or torch:<network>:<file>)

    ema_start: int = 100  # step from which weights are averaged; before, the average equals them

    def check(self, facts: DataFacts) -> None:
        """Raises ConfigError, naming the key, for a value out of range."""
        _check_domains(facts)
        one_of("method.loss", self.loss, adversarial.LOSSES)
        for part in self.diff_augment:
            one_of("method.diff_augment", part, diff_augment.POLICY)
        if self.diff_augment and facts.space.shape[0] != facts.space.shape[1]:
            raise ConfigError(
                "config.method.diff_augment is for square images; set it to (), or change the size"
            )
        for key in ("batch_size", "r1_every", "num_patches", "patch_width"):
            if vars(self)[key] < 1:
                raise ConfigError(f"config.method.{key} = {vars(self)[key]} is less than 1")
        for key, value in vars(self).items():
            if isinstance(value, float | int) and value < 0:
                raise ConfigError(f"config.method.{key} = {value} is negative; set 0 or more")
        if not 0.0 < self.crop_scale <= 1.0:
            raise ConfigError(f"config.method.crop_scale = {self.crop_scale} is not in (0, 1]")
        if self.color_jitter > 1.0:
            raise ConfigError(f"config.method.color_jitter = {self.color_jitter} is not in [0, 1]")
        if not self.temperature:
            raise ConfigError("config.method.temperature = 0.0 is not positive")
        if not self.taps:
            raise ConfigError("config.method.taps is empty; name maps of the generator")
        if bool(self.repulsion_weight) != bool(self.encoder):
            raise ConfigError(
                f"config.method.repulsion_weight = {self.repulsion_weight} and "
                f"config.method.encoder = {self.encoder!r} have no effect without each other; set "
                "both or neither"
            )
        if self.repulsion_weight and not 1 <= self.repulsion_neighbours < self.batch_size:
            raise ConfigError(
                f"config.method.repulsion_neighbours = {self.repulsion_neighbours} is not from 1 "
                f"to {self.batch_size - 1}, the other images of a batch"
            )
        if self.palette_weight and facts.space.channels != 3:
            raise ConfigError(
                f"config.method.palette_weight = {self.palette_weight} is for colour images; set "
                "it to 0.0"
            )

    @property
    def images_per_step(self) -> int:
        return 2 * self.batch_size

    @property
    def networks(self) -> dict[str, str]:
        return {"encoder": self.encoder} if self.encoder else {}

    @property
    def translates_targets(self) -> bool:
        """Whether target images pass through the generator as well."""
        return bool(self.nce_idt or self.identity_weight)


def _check_domains(facts: DataFacts) -> None:
    if not isinstance(facts.space, Pixels):
        raise ConfigError(
            f"config.data.source = {facts.source!r} holds {facts.space.noun}; method 'cut' "
            "translates images"
        )
    if facts.num_classes != 2:
        raise ConfigError(
            f"config.data.source = {facts.source!r} has {facts.num_classes} classes, but images "
            "are translated from one domain to one other: name two domains, as in "
            "'unpaired:<A>,<B>'"
        )
    if not all(facts.class_counts or ()):
        raise ConfigError(
            f"config.data.source = {facts.source!r} leaves {facts.class_counts} images of the two "
            "domains to train on; raise config.data.limit or lower config.data.num_val"
        )


@dataclasses.dataclass(frozen=True)
class DiscriminatorSettings:
    """The keys of config.discriminator, attributes of PatchGAN."""

    width: int = 64
    layers: int = 3  # convolutions before which the image is halved
    resampling: str = "antialias"  # or strided
    spectral_norm: bool = False
    scales: int = 1  # discriminators, of the image and of smaller versions of it
    initializer: str = "xavier"  # or normal; as config.model.initializer

    def network(self, shape: tuple[int, ...], dtype: Any) -> PatchGAN:
        """The discriminator of images of `shape`; ConfigError if they do not fit each other."""
        network = PatchGAN(
            self.width, self.layers, self.resampling, self.spectral_norm, self.scales,
            self.initializer, dtype,
        )  # fmt: skip
        try:
            jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, *shape)))
        except ValueError as error:
            raise ConfigError(f"config.discriminator: {error}") from error
        return network
