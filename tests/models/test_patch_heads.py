"""The heads of PatchNCE: from shapes alone, one for each map."""

import jax
import jax.numpy as jnp
import numpy as np

from models.patch_heads import PatchHeads


def test_each_map_has_its_own_two_layers():
    heads = PatchHeads(width=4)
    features = tuple(jax.random.normal(jax.random.key(c), (2, 5, c)) for c in (3, 2))
    # Channels alone decide: neither the batch nor the number of places.
    params = heads.init(jax.random.key(0), tuple(x[:1, :1] for x in features))["params"]
    outputs = heads.apply({"params": params}, features)
    for i, (x, found) in enumerate(zip(features, outputs, strict=True)):
        first, second = params[f"map_{i}_in"], params[f"map_{i}_out"]
        hidden = np.maximum(x @ first["kernel"], 0.0)  # biases start at 0
        np.testing.assert_allclose(found, hidden @ second["kernel"], rtol=1e-4, atol=1e-8)
        assert not np.any(first["bias"]) and not np.any(second["bias"])
    half = PatchHeads(width=4, dtype=jnp.bfloat16).apply({"params": params}, features)
    assert {x.dtype for x in half} == {jnp.dtype("float32")}
