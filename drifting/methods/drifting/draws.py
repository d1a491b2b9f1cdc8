"""The random draws of a step: classes, guidance scales, noise and real images."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from drifting.core.facts import DataFacts
from drifting.methods.drifting.settings import Settings
from input_pipeline import augment
from input_pipeline.data import Data
from models.conditions import STYLE_CODES, STYLE_TOKENS, Condition


class Inputs(NamedTuple):
    """The generator's inputs for B images."""

    noise: jax.Array  # [B, H, W, C]
    condition: Condition  # label, guidance, style


class Real(NamedTuple):
    """The real images of a step: P positives and M unconditional negatives per class."""

    positives: jax.Array  # [C, P, H, W, C], or [C, draws * P, ...]: disjoint draws of P each
    unconditional: jax.Array | None  # [C, M, H, W, C]
    valid: jax.Array  # [C] float, 0 for a class of which the queue has too few images, else 1


class Keys(NamedTuple):
    """The named random streams of one step."""

    classes: jax.Array
    positives: jax.Array
    unconditional: jax.Array
    flip: jax.Array
    cfg_scale: jax.Array
    dropout: jax.Array
    noise: jax.Array
    style: jax.Array
    push: jax.Array
    flip_unconditional: jax.Array

    @classmethod
    def of(cls, key: jax.Array) -> "Keys":
        """The streams of the step with this key."""
        return cls(*jax.random.split(key, len(cls._fields)))


class Step(NamedTuple):
    """The draws of one step, and the encoder's parameters."""

    inputs: Inputs
    real: Real
    cfg_scale: jax.Array  # [C]
    dropout_key: jax.Array
    encoder: Any


def classes(settings: Settings, num_classes: int, key: jax.Array) -> jax.Array:
    """The classes of a step, int32 [C]: all of them in order, or a random subset."""
    if settings.classes_per_step == num_classes:
        return jnp.arange(num_classes, dtype=jnp.int32)
    return jax.random.permutation(key, num_classes)[: settings.classes_per_step]


def cfg_scales(
    key: jax.Array, n: int, low: float, high: float, power: float, share_at_one: float
) -> jax.Array:
    """Guidance scales [n] with p(s) ~ s^-power on [low, high], of which a share is set to 1.

    This is the paper's training-time guidance, sampled by inverting the cumulative distribution:
    with q = 1 - power, s = (low^q + u (high^q - low^q))^(1 / q), or low (high / low)^u for q = 0.
    """
    key_scale, key_one = jax.random.split(key)
    u = jax.random.uniform(key_scale, (n,))
    if abs(power - 1.0) < 1e-6:
        scale = low * (high / low) ** u
    else:
        a, b = low ** (1.0 - power), high ** (1.0 - power)
        scale = (a + u * (b - a)) ** (1.0 / (1.0 - power))
    return jnp.where(jax.random.uniform(key_one, (n,)) < share_at_one, 1.0, scale)


def inputs(
    settings: Settings, facts: DataFacts, keys: Keys, classes: jax.Array, cfg_scale: jax.Array
) -> Inputs:
    """The inputs of G images per class at the class's guidance scale; some labels become null.

    Args:
      classes, cfg_scale: [C].
    """
    batch, each = settings.batch_size, settings.num_generated
    labels = jnp.repeat(classes, each)  # [B] with B = C * G
    dropped = jax.random.uniform(keys.dropout, (batch,)) < settings.label_dropout
    condition = Condition(
        label=jnp.where(dropped, facts.num_classes, labels),
        guidance=jnp.repeat(cfg_scale, each),
        style=style(keys.style, batch),
    )
    return Inputs(jax.random.normal(keys.noise, (batch, *facts.space.shape)), condition)


def style(key: jax.Array, batch: int) -> jax.Array:
    """Random style codes, int32 [B, STYLE_TOKENS], which the network embeds as tokens."""
    return jax.random.randint(key, (batch, STYLE_TOKENS), 0, STYLE_CODES, jnp.int32)


def real(
    settings: Settings,
    num_drawn: int,
    flip: bool,
    data: Data,
    extra: dict[str, Any],
    keys: Keys,
    classes: jax.Array,
) -> tuple[Real, dict[str, Any]]:
    """Positives and unconditional negatives, from the data set or from the queue in `extra`.

    Args:
      num_drawn: positives per class.
      flip: mirror the images at random.

    Returns:
      The images, and `extra` with the queue after fresh images were pushed into it.
    """
    s = settings
    if s.queue_size:
        found, extra = _from_queues(s, num_drawn, data, extra, keys, classes)
    else:
        found = Real(
            positives=data.positives(keys.positives, classes, num_drawn),
            unconditional=None,
            valid=jnp.ones((s.classes_per_step,), jnp.float32),
        )
        if s.negatives:
            drawn, _ = data.draw(keys.unconditional, s.classes_per_step * s.negatives)
            shape = (s.classes_per_step, s.negatives, *drawn.shape[1:])
            found = found._replace(unconditional=drawn.reshape(shape))  # [C, M, H, W, C]
    if flip:
        found = found._replace(positives=augment.random_flip(keys.flip, found.positives))
        if s.negatives:
            flipped = augment.random_flip(keys.flip_unconditional, found.unconditional)
            found = found._replace(unconditional=flipped)
    return found, extra


def _from_queues(
    settings: Settings,
    num_drawn: int,
    data: Data,
    extra: dict[str, Any],
    keys: Keys,
    classes: jax.Array,
) -> tuple[Real, dict[str, Any]]:
    """As `real`, from the queues in `extra`; the images are not yet mirrored."""
    s, to_model = settings, data.space.to_model
    images, labels = data.fresh(keys.push, s.queue_push)
    queue = any_class = extra["queue"].push(images, labels)
    extra = {**extra, "queue": queue}
    if s.queue_unconditional:
        any_class = extra["unconditional"].push(images, jnp.zeros_like(labels))
        extra["unconditional"] = any_class
    positives, valid = queue.sample(keys.positives, classes, num_drawn)
    unconditional = None
    if s.negatives:
        drawn, enough = any_class.sample_any(keys.unconditional, s.classes_per_step, s.negatives)
        unconditional, valid = to_model(drawn), valid & enough
    return Real(to_model(positives), unconditional, valid.astype(jnp.float32)), extra
