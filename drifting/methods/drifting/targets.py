"""Regression targets on feature stacks, from the kernel field or from a learned one.

    goal = stopgrad(phi / scale + V)

A feature is a stack [S, C * N, D] of S places; a field treats it as C * S groups of N points. All
groups of a class are neighbours, and so are its samples: where the devices divide the classes, each
of them has the whole sets of its own classes, and only means over all groups are communicated.
"""

from collections.abc import Sequence

import einops
import jax
import jax.numpy as jnp

from drifting.core import state as state_lib
from drifting.fields import kernel, pairs
from drifting.methods.drifting.learned_field import FeatureSets, LearnedField, Networks
from drifting.methods.drifting.settings import Settings

# Of one feature: generated samples, positives, unconditional negatives.
FeatureStacks = tuple[jax.Array, jax.Array, jax.Array | None]


def of_stacks(
    settings: Settings,
    field: LearnedField | None,
    networks: Networks | None,
    features: Sequence[FeatureStacks],
    cfg_scale: jax.Array,
    valid: jax.Array,
) -> tuple[tuple[kernel.Target, ...], Networks | None, dict[str, jax.Array]]:
    """The target of each feature, the learned field's new networks, and the mean metrics.

    A target has a goal [S, B, D] and a scale [S, B, 1]. A learned field takes its training steps
    here.

    Args:
      features: stacks [S, C * N, D] of samples, positives and negatives, for each feature.
      cfg_scale, valid: [C].
    """
    sets = [tuple(by_class(settings, stack) for stack in stacks) for stacks in features]
    targets = [kernel_target(settings, *s, cfg_scale) for s in sets]
    learning = {}
    if field:
        learned_sets = [
            feature_sets(settings, *s, target, cfg_scale, valid)
            for s, target in zip(sets, targets, strict=True)
        ]
        networks, learning = field.train(networks, learned_sets)
        drifts = field.drifts(networks.params, learned_sets)
        targets = [_learned(*each) for each in zip(targets, learned_sets, drifts, strict=True)]
    mean = jax.tree.map(lambda *m: jnp.mean(jnp.stack(m)), *[t.metrics for t in targets])
    shaped = tuple(_as_stack(t, len(s[0])) for t, s in zip(targets, features, strict=True))
    return shaped, networks, mean | learning


def by_class(settings: Settings, stack: jax.Array | None) -> jax.Array | None:
    """[S, C * N, D] to groups [C * S, N, D], sharded by class."""
    if stack is None:
        return None
    classes = settings.classes_per_step
    groups = einops.rearrange(stack, "s (c n) d -> (c s) n d", c=classes)
    return state_lib.shard_groups(groups, classes)


def kernel_target(
    settings: Settings,
    generated: jax.Array,
    positives: jax.Array,
    negatives: jax.Array | None,
    cfg_scale: jax.Array,
) -> kernel.Target:
    """The kernel field's target of one feature, given as sets [C * S, N, D].

    As released, all places of a feature share the distance scale and the force norms. Of several
    draws of positives only the first is used.
    """
    positives = positives[:, : settings.num_positives]
    if settings.form == "sphere":
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


def feature_sets(
    settings: Settings,
    generated: jax.Array,
    positives: jax.Array,
    unconditional: jax.Array | None,
    target: kernel.Target,
    cfg_scale: jax.Array,
    valid: jax.Array,
) -> FeatureSets:
    """The sets of one feature for a learned field: [C * S, N, D], divided by the target's scale.

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
    sets = FeatureSets(
        x,
        positives / target.scale,
        *guidance,
        kernel_drift=target.goal - x,
        valid=_for_places(settings, valid, generated),
    )
    return jax.lax.stop_gradient(sets)


def _guidance_weight(settings: Settings, cfg_scale: jax.Array) -> jax.Array:
    """The weight of an unconditional negative of each class, [C]."""
    return kernel.guidance_weight(cfg_scale, settings.num_generated, settings.negatives)


def _for_places(settings: Settings, of_class: jax.Array, groups: jax.Array) -> jax.Array:
    """Repeats values [C] for every place: [C * S], as in `groups` [C * S, N, D]."""
    return jnp.repeat(of_class, groups.shape[0] // settings.classes_per_step)


def _learned(target: kernel.Target, sets: FeatureSets, drift: jax.Array) -> kernel.Target:
    """The target with the goal and drift norm of the learned field, and its distance statistics."""
    goal = sets.x + drift
    norm = jnp.mean(jnp.sqrt(jnp.mean(jnp.square(drift), axis=(1, 2))))
    kept = {k: v for k, v in target.metrics.items() if "dist" in k}
    return target._replace(goal=goal, metrics={"drift_norm": norm, **kept})


def _as_stack(target: kernel.Target, places: int) -> kernel.Target:
    """Goal and scale as stacks of `places` S, [S, B, D] and [S, B, 1]; drops the metrics."""
    scale = jnp.broadcast_to(target.scale, (*target.goal.shape[:-1], 1))  # [C * S, N, 1]
    goal, scale = (
        einops.rearrange(x, "(c s) n d -> s (c n) d", s=places) for x in (target.goal, scale)
    )
    return kernel.Target(goal, scale, {})
