"""The MeanFlow objective as pure functions; flow matching is the special case r = t.

Geng et al., "Mean Flows for One-step Generative Modeling" (arXiv:2505.13447). The mean velocity
over [r, t] is u(z_t, r, t) = 1 / (t - r) int_r^t v(z_s, s) ds (eq. 3), and it satisfies
u = v - (t - r) du/dt along the path (eq. 6). A network is a function (z [B, ...], t [B], h [B]) of
the state at the *later* time t and of h = t - r.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from drifting.flows.paths import broadcast

Velocity = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]


def mean_velocity(
    u: Velocity, z: jax.Array, r: jax.Array, t: jax.Array, tangent: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """u(z, r, t) and its total derivative du/dt, in one forward-mode pass (eq. 8).

    Args:
      tangent: dz/dt [B, ...], the velocity of z; r is constant.
    """

    def of(z: jax.Array, r: jax.Array, t: jax.Array) -> jax.Array:
        return u(z, t, t - r)

    return jax.jvp(of, (z, r, t), (tangent, jnp.zeros_like(r), jnp.ones_like(t)))


def regression_target(v: jax.Array, r: jax.Array, t: jax.Array, du_dt: jax.Array) -> jax.Array:
    """v - (t - r) du/dt, without gradient (eq. 10)."""
    return jax.lax.stop_gradient(v - broadcast(t - r, v) * du_dt)


def squared_error(u: jax.Array, target: jax.Array) -> jax.Array:
    """|u - target|^2, summed over an example's values: [B]."""
    return jnp.sum(jnp.square(u - target), axis=tuple(range(1, u.ndim)))


def adaptive(error: jax.Array, power: float, epsilon: float) -> jax.Array:
    """error / stopgrad(error + epsilon)^power, [B]: the paper's adaptive weight, off at power 0."""
    return error / jax.lax.stop_gradient(error + epsilon) ** power


def guided_velocity(
    v: jax.Array,
    null: jax.Array,
    conditional: jax.Array | None,
    t: jax.Array,
    omega: float,
    kappa: float,
    window: tuple[float, float],
) -> jax.Array:
    """The velocity of the guided field, on which training regresses (the paper's appendix).

    omega v + (1 - omega - kappa) u(z, t, t | null) + kappa u(z, t, t | class) for t in the window,
    ends included; v outside. Sampling then needs one evaluation instead of two. The effect is that
    of guidance of strength omega / (1 - kappa).

    Args:
      v: e - x, [B, ...].
      null, conditional: the network's instantaneous velocities [B, ...]; the second is not
        needed for kappa = 0.
    """
    guided = omega * v + (1.0 - omega - kappa) * null
    if kappa:
        guided += kappa * conditional
    inside = (t >= window[0]) & (t <= window[1])
    return jax.lax.stop_gradient(jnp.where(broadcast(inside, v), guided, v))
