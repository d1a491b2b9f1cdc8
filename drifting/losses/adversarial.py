"""What a discriminator and a generator minimise, and penalties on the discriminator's gradient.

Every loss is a mean over logits x of any shape, or over a tuple of them, one array per scale, of
which each scale has the same weight. The discriminator minimises half the sum of the terms of real
and of fake images:

                               real          fake          generator     source
    hinge                      max(0, 1-x)   max(0, 1+x)   -x            arXiv:1705.02894
    lsgan                      (x-1)^2       x^2           (x-1)^2       arXiv:1611.04076
    vanilla, nonsaturating     log(1+e^-x)   log(1+e^x)    log(1+e^-x)   arXiv:1406.2661
    wgangp                     -x            x             -x            arXiv:1704.00028

`vanilla` is the cross entropy of a sigmoid. Its generator aims at the label of real images, which
is the non-saturating form, so the two names mean the same, as in the CUT release
(github.com/taesungp/contrastive-unpaired-translation).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

Logits = jax.Array | tuple[jax.Array, ...]

# By name: the terms of real and of fake images.
_TERMS = {
    "hinge": (lambda x: jax.nn.relu(1.0 - x), lambda x: jax.nn.relu(1.0 + x)),
    "lsgan": (lambda x: jnp.square(x - 1.0), jnp.square),
    "vanilla": (lambda x: jax.nn.softplus(-x), jax.nn.softplus),
    "nonsaturating": (lambda x: jax.nn.softplus(-x), jax.nn.softplus),
    "wgangp": (jnp.negative, lambda x: x),
}
LOSSES = tuple(_TERMS)


def real_loss(name: str, logits: Logits) -> jax.Array:
    """The discriminator's loss of logits of real images; KeyError for a name not in LOSSES."""
    return _mean(_TERMS[name][0], logits)


def fake_loss(name: str, logits: Logits) -> jax.Array:
    """The discriminator's loss of logits of fake images; KeyError for a name not in LOSSES."""
    return _mean(_TERMS[name][1], logits)


def discriminator_loss(name: str, real: Logits, fake: Logits) -> jax.Array:
    """Half the sum of the losses of real and of fake images; KeyError for an unknown name."""
    return 0.5 * (real_loss(name, real) + fake_loss(name, fake))


def generator_loss(name: str, fake: Logits) -> jax.Array:
    """The generator's loss of logits of fake images; KeyError for a name not in LOSSES."""
    return real_loss("wgangp" if name == "hinge" else name, fake)


def r1(logits_of: Callable[[jax.Array], Logits], images: jax.Array) -> jax.Array:
    """Mean over images [B, ...] of |gradient|^2 (Mescheder et al., arXiv:1801.04406).

    The gradient is that of the sum of an image's logits, as in the CUT release; the weight
    gamma / 2 is left to the caller.

    Args:
      logits_of: from images to logits; those of an image depend on that image alone.
    """
    return jnp.mean(jnp.sum(jnp.square(_gradients(logits_of, images)), axis=1))


def gradient_penalty(
    logits_of: Callable[[jax.Array], Logits], real: jax.Array, fake: jax.Array, key: jax.Array
) -> jax.Array:
    """Mean of (|gradient| - 1)^2 between real and fake images [B, ...] (arXiv:1704.00028).

    The gradient is that of the sum of an image's logits at a uniformly drawn point of the line
    between a real and a fake image.

    Args:
      logits_of: from images to logits; those of an image depend on that image alone.
    """
    share = jax.random.uniform(key, (len(real), *(1,) * (real.ndim - 1)), real.dtype)
    grads = _gradients(logits_of, share * real + (1.0 - share) * fake)
    norms = optax.safe_norm(grads, 0.0, axis=1)  # whose own gradient is 0 at 0
    return jnp.mean(jnp.square(norms - 1.0))


def _mean(term: Callable[[jax.Array], jax.Array], logits: Logits) -> jax.Array:
    scales = jax.tree.leaves(logits)
    return sum(jnp.mean(term(x)) for x in scales) / len(scales)


def _gradients(logits_of: Callable[[jax.Array], Logits], images: jax.Array) -> jax.Array:
    """The gradient of the sum of each image's logits, float32 [B, values of an image]."""

    def total(x: jax.Array) -> jax.Array:
        return sum(jnp.sum(logits) for logits in jax.tree.leaves(logits_of(x)))

    return jax.grad(total)(images).reshape(len(images), -1).astype(jnp.float32)
