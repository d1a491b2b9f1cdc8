"""The Inception network is computed in full float32 on every device."""

import jax
import jax.numpy as jnp
from jax.extend import core

from models.inception import InceptionV3


def products(jaxpr):
    """Yields the convolutions and matrix products of a program and of its parts."""
    for equation in jaxpr.eqns:
        if equation.primitive.name in ("conv_general_dilated", "dot_general"):
            yield equation
        for part in core.jaxprs_in_params(equation.params):
            yield from products(part)


def test_no_product_has_the_precision_that_is_tf32_on_gpus():
    images = jax.ShapeDtypeStruct((1, 75, 75, 3), jnp.float32)
    made = jax.make_jaxpr(InceptionV3().init_with_output)(jax.random.key(0), images)
    found = list(products(made.jaxpr))
    kinds = [equation.primitive.name for equation in found]
    # Each of the 94 convolutions in both of its ways, and the logits.
    assert kinds.count("conv_general_dilated") == 94 and kinds.count("dot_general") == 95
    highest = jax.lax.Precision.HIGHEST
    assert {equation.params["precision"] for equation in found} == {(highest, highest)}
