"""Feature functions: the maps from images to vectors in which sets of images are compared."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from drifting.core.errors import ConfigError, did_you_mean
from drifting.core.networks import Encoder
from drifting.evaluation import resize
from drifting.pretrained import inception as inception_weights
from input_pipeline import pixels
from input_pipeline.space import Pixels, Space
from models import inception


class FeatureBatch(NamedTuple):
    """The features of B images.

    Attributes:
      features: float32 [B, D].
      logits: float32 [B, K] of a classifier, for the Inception Score; None for other networks.
    """

    features: jax.Array
    logits: jax.Array | None


CPU_IMAGES = 4  # per call of the Inception network on a CPU


@dataclasses.dataclass(frozen=True, eq=False)
class FeatureFunction:
    """A named map from images to feature vectors.

    Attributes:
      name: as given in config.eval.features or --features.
      dimension: of the vectors.
      apply: stored samples [B, ...] -> FeatureBatch; jittable; each row depends on its sample
        alone. A Partial passes the weights of a network to a jitted program as arguments, where a
        closure would compile them into it; other weights of the same shapes run the same program.
      identity: differs if the features may differ, by weights or resize mode. Part of the keys of
        cached statistics.
      mode: how images were resized, or "".
    """

    name: str
    dimension: int
    apply: Partial
    identity: str
    mode: str = ""


def feature_function(name: str, space: Space, mode: str) -> FeatureFunction:
    """The feature function called `name`, `pixels` or `inception`, for samples of `space`.

    Args:
      mode: one of resize.MODES, for features that resize images.

    Raises:
      ConfigError: the name or mode is unknown, or the features are for images and the samples are
        not. The message lists the known names and suggests the nearest.
      WeightsError: the weights are missing; the message says how to get them.
    """
    if name not in _MAKERS:
        known = ", ".join((*sorted(_MAKERS), "encoder:<workdir>"))
        raise ConfigError(f"unknown features {name!r}, known: {known}{did_you_mean(name, _MAKERS)}")
    require_images(name, space)
    return _MAKERS[name](space, resize.require_mode(mode))


def require_images(name: str, space: Space) -> None:
    """Raises ConfigError if the features are for images and the samples are not."""
    if name != "pixels" and not isinstance(space, Pixels):
        raise ConfigError(
            f"features {name!r} are for images, and the data are {space.noun} "
            f"{tuple(space.shape)}: use the values themselves, config.eval.features = 'pixels' "
            "(--features pixels)"
        )


@dataclasses.dataclass(frozen=True)
class _Vectors:
    """The samples themselves; equal spaces are equal functions, so they share a program."""

    space: Space

    def __call__(self, stored: jax.Array) -> FeatureBatch:
        return FeatureBatch(self.space.to_vectors(stored), None)


def _pixels(space: Space, mode: str) -> FeatureFunction:
    del mode
    return FeatureFunction("pixels", space.size, Partial(_Vectors(space)), "pixels")


def inception_features(params: dict, mode: str) -> FeatureFunction:
    """The 2048 pool features and the logits of the FID Inception network, with resize `mode`."""
    apply = Partial(_INCEPTION[mode], jax.device_put(params))
    identity = f"inception:{mode}:{inception_weights.digest(params)}"
    return FeatureFunction("inception", inception.POOL_FEATURES, apply, identity, mode)


def encoder_features(encoder: Encoder) -> FeatureFunction:
    """The inputs of the last layer of a trained network, and its logits; images keep their size."""

    def apply(parameters: Any, images: jax.Array) -> FeatureBatch:
        with jax.default_matmul_precision("highest"):  # not TF32, the default on recent GPUs
            found = encoder.encode(parameters, pixels.to_unit(images))
        return FeatureBatch(found.pooled, found.logits)

    one = jax.ShapeDtypeStruct((1, *encoder.image_shape), jnp.uint8)
    dimension = jax.eval_shape(apply, encoder.parameters, one).features.shape[-1]
    apply_to = Partial(apply, encoder.parameters)
    return FeatureFunction(f"encoder:{encoder.name}", dimension, apply_to, encoder.identity)


def _inception(space: Space, mode: str) -> FeatureFunction:
    del space  # any size is resized
    state = inception_weights.read(inception_weights.default_path())
    return inception_features(inception_weights.to_params(state), mode)


def _apply_inception(mode: str) -> Callable[[dict, jax.Array], FeatureBatch]:
    def whole(params: dict, images: jax.Array) -> FeatureBatch:
        x = resize.resize(images, mode, inception.IMAGE_SIZE)
        x = resize.to_network_range(x, mode)
        found = inception.InceptionV3().apply({"params": params}, x)
        return FeatureBatch(found["pool"], found["logits"])

    def in_parts(params: dict, images: jax.Array) -> FeatureBatch:
        """A few images at a time, so that activations stay in the cache of a CPU."""
        count = len(images)
        padded = jnp.pad(images, ((0, -count % CPU_IMAGES), (0, 0), (0, 0), (0, 0)))
        parts = padded.reshape(-1, CPU_IMAGES, *images.shape[1:])  # [P, 4, H, W, C]
        found = jax.lax.map(lambda part: whole(params, part), parts)
        return jax.tree.map(lambda leaf: leaf.reshape(-1, leaf.shape[-1])[:count], found)  # [B, D]

    def apply(params: dict, images: jax.Array) -> FeatureBatch:
        return jax.lax.platform_dependent(params, images, cpu=in_parts, default=whole)

    return apply


# One function object per mode: Partials of the same function share a compiled program.
_INCEPTION = {mode: _apply_inception(mode) for mode in resize.MODES}
_MAKERS: dict[str, Callable[[Space, str], FeatureFunction]] = {
    "pixels": _pixels,
    "inception": _inception,
}
