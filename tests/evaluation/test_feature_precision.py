"""Features that scores depend on are computed in full float32 on every device."""

import jax
import jax.numpy as jnp
from jax.extend import core

from drifting.core.networks import Encoder
from drifting.evaluation import features
from models.activations import Activations
from models.inception import InceptionV3

HIGHEST = jax.lax.Precision.HIGHEST  # the default is TF32 on recent GPUs


def products(jaxpr):
    """Yields the convolutions and matrix products of a program and of its parts."""
    for equation in jaxpr.eqns:
        if equation.primitive.name in ("conv_general_dilated", "dot_general"):
            yield equation
        for part in core.jaxprs_in_params(equation.params):
            yield from products(part)


def precisions(function, *arguments):
    """The number of products of each kind, and the precisions that they ask for."""
    found = list(products(jax.make_jaxpr(function)(*arguments).jaxpr))
    kinds = [equation.primitive.name for equation in found]
    counts = {kind: kinds.count(kind) for kind in set(kinds)}
    return counts, {equation.params["precision"] for equation in found}


def test_of_the_inception_network():
    images = jax.ShapeDtypeStruct((1, 75, 75, 3), jnp.float32)
    found = precisions(InceptionV3().init_with_output, jax.random.key(0), images)
    # Each of the 94 convolutions in both of its ways, and the logits.
    assert found == ({"conv_general_dilated": 94, "dot_general": 95}, {(HIGHEST, HIGHEST)})


def test_of_an_encoder():
    def encode(parameters, images):
        pooled = images.reshape(len(images), -1) @ parameters
        return Activations(pooled @ parameters[:5], pooled, {})

    encoder = Encoder("made", (4, 4, 1), jnp.ones((16, 5)), encode, "0")
    function = features.encoder_features(encoder)
    images = jax.ShapeDtypeStruct((2, 4, 4, 1), jnp.uint8)
    assert function.dimension == 5
    assert precisions(function.apply, images) == ({"dot_general": 2}, {(HIGHEST, HIGHEST)})
