"""The drifting release's generator: exact sizes, its start, and what remat leaves out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import registry
from models.conditions import STYLE_TOKENS, Condition
from models.drift_dit_latent import Conditioning

SMALL = dict(size="nano", hidden_size=16, depth=1, num_class_tokens=2)


def inputs(batch, size=4, channels=4):
    condition = Condition(
        label=jnp.arange(batch, dtype=jnp.int32) % 10,
        guidance=jnp.linspace(1.0, 3.0, batch),
        style=jnp.zeros((batch, STYLE_TOKENS), jnp.int32),
    )
    return jax.random.normal(jax.random.key(1), (batch, size, size, channels)), condition


def small(**changed):
    return registry.create("drift_dit_latent", SMALL | changed, (4, 4, 4), 10)


@pytest.mark.parametrize("size,width,released", [("B", 768, 132_708_880), ("L", 1024, 462_909_456)])
def test_parameter_counts_of_the_release(size, width, released):
    """Counted by jax.eval_shape of its DitGen with the values of configs/gen/latent_sota_*."""
    model = registry.create("drift_dit_latent", dict(size=size), (32, 32, 4), 1000)
    shapes = jax.eval_shape(model.init, jax.random.key(0), *inputs(1, 32))
    null_class = width  # the release has no row for it
    assert sum(x.size for x in jax.tree.leaves(shapes)) == released + null_class


@pytest.mark.parametrize("width,hidden", [(64, 192), (768, 2048), (1024, 2752)])
def test_a_swiglu_is_two_thirds_as_wide_in_multiples_of_32(width, hidden):
    model = small(hidden_size=width)
    params = jax.eval_shape(model.init, jax.random.key(0), *inputs(1))["params"]
    assert params["block_0"]["mlp"]["w1"]["dense"]["kernel"].shape == (width, hidden)


def test_a_fresh_network_is_zero_and_a_step_tells_its_samples_apart():
    """Equal samples get equal targets, which the tokens of different noise follow differently."""
    model, given = small(), inputs(3)

    @jax.jit
    def fit(variables):
        def loss(variables):
            samples = model.apply(variables, *given)
            return jnp.mean(jnp.square(samples - 1.0)), samples

        (_, samples), grads = jax.value_and_grad(loss, has_aux=True)(variables)
        return jax.tree.map(lambda x, g: x - 0.1 * g, variables, grads), samples

    moved, samples = fit(jax.jit(model.init)(jax.random.key(0), *given))
    np.testing.assert_array_equal(samples, np.zeros(samples.shape))
    _, samples = fit(moved)
    assert jnp.std(samples, axis=0).max() > 1e-3


def test_the_guidance_scale_has_a_small_weight():
    """The embedding is normed, so its mean square is the square of the weight."""
    model, (z, condition) = small(), inputs(3)
    variables = jax.jit(model.init)(jax.random.key(0), z, condition)
    conditioning = variables["params"]["conditioning"]
    factors = {"label": 0.0, "style": 0.0, "guidance": 10.0, "guidance_norm": 1.0}
    params = {k: jax.tree.map(lambda x, f=f: f * x, conditioning[k]) for k, f in factors.items()}
    row = Conditioning(10, 16).apply({"params": params}, condition, 3)
    np.testing.assert_allclose(jnp.mean(jnp.square(row), axis=-1), 0.02**2, rtol=1e-2)


def test_each_style_token_has_a_table_of_its_own():
    """The same two codes in other places give another condition, unlike with one codebook."""
    model, (z, condition) = small(), inputs(2)
    variables = jax.jit(model.init)(jax.random.key(0), z, condition)
    tables = variables["params"]["conditioning"]["style"]
    assert tables.shape == (STYLE_TOKENS, 64, 16)
    codes = condition.style.at[0, 0].set(5).at[1, 1].set(5)
    params = {"params": variables["params"]["conditioning"]}
    same = condition._replace(label=jnp.zeros(2, jnp.int32), guidance=jnp.ones(2), style=codes)
    first, second = Conditioning(10, 16).apply(params, same, 2)
    expected = tables[0, 5] - tables[0, 0] - tables[1, 5] + tables[1, 0]
    np.testing.assert_allclose(first - second, expected, atol=1e-6)


def test_blocks_that_are_computed_again_give_the_same_gradient():
    given = inputs(2)
    variables = jax.jit(small().init)(jax.random.key(0), *given)
    variables = jax.tree.map(lambda x: x + 0.1, variables)

    def gradient(model):
        return jax.jit(jax.grad(lambda v: jnp.sum(model.apply(v, *given) ** 2)))(variables)

    for a, b in zip(
        *map(jax.tree.leaves, map(gradient, (small(), small(remat=True)))), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
