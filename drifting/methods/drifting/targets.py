"""The goals that the fields set: of the kernel field, or of a learned one beside it.

A feature is a stack [S, C * N, D], S places of it; to a field it is S * C groups of N points.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from drifting.fields import kernel, pairs
from drifting.methods.drifting.learned_field import LearnedField, Networks, Surroundings
from drifting.methods.drifting.settings import Settings

Sets = tuple[jax.Array, jax.Array, jax.Array | None]  # generated, positives, negatives


def of_stacks(
    settings: Settings,
    field: LearnedField | None,
    networks: Networks | None,
    features: Sequence[Sets],
    cfg_scale: jax.Array,
    valid: jax.Array,
) -> tuple[tuple[kernel.Target, ...], Networks | None, dict[str, jax.Array]]:
    """Goal [S, B, D] and scale [S, B, 1] for each feature, and the metrics' mean over features.

    A learned field takes its steps here, and its networks come back as they are after them.

    Args:
      features: stacks [S, C * N, D] of the samples, of the positives and of the negatives.
      cfg_scale, valid: [C].
    """
    sets = [tuple(by_class(settings, stack) for stack in stacks) for stacks in features]
    targets = [kernel_target(settings, *s, cfg_scale) for s in sets]
    learning = {}
    if field:
        around = [
            surroundings(settings, *s, target, cfg_scale, valid)
            for s, target in zip(sets, targets, strict=True)
        ]
        networks, learning = field.train(networks, around)
        drifts = field.drifts(networks.params, around)
        targets = [_learned(*each) for each in zip(targets, around, drifts, strict=True)]
    mean = jax.tree.map(lambda *m: jnp.mean(jnp.stack(m)), *[t.metrics for t in targets])
    shaped = tuple(_as_stack(t, s[0].shape) for t, s in zip(targets, features, strict=True))
    return shaped, networks, mean | learning


def by_class(settings: Settings, stack: jax.Array | None) -> jax.Array | None:
    """[S, C * N, D] to groups [S * C, N, D]."""
    if stack is None:
        return None
    places, _, dimension = stack.shape
    groups = places * settings.classes_per_step
    return stack.reshape(groups, -1, dimension)


def kernel_target(
    settings: Settings,
    generated: jax.Array,
    positives: jax.Array,
    negatives: jax.Array | None,
    cfg_scale: jax.Array,
) -> kernel.Target:
    """The target of one feature: sets [S * C, N, D], a group for each of its S places.

    As released, a feature's places share the scale of their distances and their force norms.
    Of several draws of positives the kernel field sees the first.
    """
    positives = positives[:, : settings.num_positives]
    if settings.normalization == "sphere":
        return kernel.sphere_target(generated, positives, settings.temperatures)
    weight = None
    if negatives is not None:
        each = _for_places(settings, _guidance_weight(settings, cfg_scale), negatives)
        weight = jnp.broadcast_to(each[:, None], negatives.shape[:2])
    return kernel.distance_target(
        generated,
        positives,
        negatives,
        negative_weight=weight,
        temperatures=settings.temperatures,
        scale_per_label=settings.scale_per_label,
        drop_self_pairs=settings.drop_self_pairs,
    )


def surroundings(
    settings: Settings,
    generated: jax.Array,
    positives: jax.Array,
    unconditional: jax.Array | None,
    target: kernel.Target,
    cfg_scale: jax.Array,
    valid: jax.Array,
) -> Surroundings:
    """What a learned field sees of one feature: sets [S * C, N, D] over the target's scale.

    Args:
      cfg_scale, valid: [C].
    """
    x = pairs.as_float(generated) / target.scale
    guidance = (None, None, None)
    if unconditional is not None:
        of_class = _guidance_weight(settings, cfg_scale), cfg_scale
        guidance = (
            unconditional / target.scale,
            *(_for_places(settings, value, generated) for value in of_class),
        )
    around = Surroundings(
        x,
        positives / target.scale,
        *guidance,
        kernel_drift=target.goal - x,
        valid=_for_places(settings, valid, generated),
    )
    return jax.lax.stop_gradient(around)


def _guidance_weight(settings: Settings, cfg_scale: jax.Array) -> jax.Array:
    """Of each unconditional negative, [C]."""
    return kernel.guidance_weight(cfg_scale, settings.num_generated, settings.negatives)


def _for_places(settings: Settings, of_class: jax.Array, groups: jax.Array) -> jax.Array:
    """[C] to [S * C], for groups [S * C, N, D]."""
    return jnp.tile(of_class, groups.shape[0] // settings.classes_per_step)


def _learned(target: kernel.Target, around: Surroundings, drift: jax.Array) -> kernel.Target:
    """The kernel field's target with the learned field's goal, and the norm of its drift.

    The statistics of the distances stay.
    """
    goal = around.x + drift
    norm = jnp.mean(jnp.sqrt(jnp.mean(jnp.square(drift), axis=(1, 2))))
    kept = {k: v for k, v in target.metrics.items() if "dist" in k}
    return target._replace(goal=goal, metrics={"drift_norm": norm, **kept})


def _as_stack(target: kernel.Target, shape: tuple[int, ...]) -> kernel.Target:
    """Of groups [S * C, N, D] to `shape` [S, B, D], the scale to [S, B, 1]; without metrics."""
    scale = jnp.broadcast_to(target.scale, (*target.goal.shape[:-1], 1))
    return kernel.Target(target.goal.reshape(shape), scale.reshape(*shape[:-1], 1), {})
