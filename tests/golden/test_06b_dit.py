"""The DiT against the MeanFlow release's numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import dit
from models.conditions import Condition
from models.layers.embeddings import time_features
from models.layers.positions import sincos_table

LAYERS = {
    "patch_embed": "x_embedder.proj",
    "conditioning/t_embed/in": "t_embedder.mlp.layers_0._flax_linear",
    "conditioning/t_embed/out": "t_embedder.mlp.layers_2._flax_linear",
    "conditioning/h_embed/in": "h_embedder.mlp.layers_0._flax_linear",
    "conditioning/h_embed/out": "h_embedder.mlp.layers_2._flax_linear",
    "conditioning/label": "y_embedder.embedding_table._flax_embedding",
    "final_modulation/linear": "final_layer.adaLN_modulation.layers_1._flax_linear",
    "final_linear": "final_layer.linear._flax_linear",
}
BLOCK_LAYERS = {
    "modulation/linear": "adaLN_modulation.layers_1._flax_linear",
    "attention/qkv": "attn.qkv._flax_linear",
    "attention/proj": "attn.proj._flax_linear",
    "mlp_in": "mlp.fc1._flax_linear",
    "mlp_out": "mlp.fc2._flax_linear",
}
TABLE = "w.y_embedder.embedding_table._flax_embedding.embedding"


def reference_name(path: str) -> str:
    """The release's name for our parameter."""
    head, _, rest = path.partition("/")
    if not head.startswith("block_"):
        layer, leaf = path.rsplit("/", 1)
        return f"w.{LAYERS[layer.removesuffix('/dense')]}.{leaf}"
    layer, leaf = rest.rsplit("/", 1)
    return f"w.blocks.layers_{head[6:]}.{BLOCK_LAYERS[layer.removesuffix('/dense')]}.{leaf}"


def inputs(g):
    """The labels, or None if the network of the file has no classes."""
    names = [name for name in ("x", "t", "h", "labels") if f"in.{name}" in g]
    z, *told = (jnp.asarray(g[f"in.{name}"]) for name in names)
    return z, Condition(*told)


@pytest.fixture(scope="module")
def case(golden):
    g = golden("06b_dit_meanflow_official.npz")
    width = int(g["cfg.hidden_size"])
    model = dit.DiT(
        # With a null label, the table has one row more than there are classes.
        num_classes=g[TABLE].shape[0] - 1 if TABLE in g else 0,
        patch_size=int(g["cfg.patch_size"]),
        hidden_size=width,
        depth=int(g["cfg.depth"]),
        num_heads=int(g["cfg.num_heads"]),
        mlp_ratio=g["w.blocks.layers_0.mlp.fc1._flax_linear.bias"].shape[0] // width,
    )
    shapes = jax.eval_shape(model.init, jax.random.key(0), *inputs(g))
    used = []

    def fill(path, leaf):
        used.append(reference_name("/".join(k.key for k in path[1:])))
        array = g[used[-1]]
        array = array.reshape(-1, array.shape[-1]) if array.ndim == 4 else array  # patches H W I
        assert array.shape == leaf.shape, used[-1]
        return jnp.asarray(array)

    variables = jax.tree_util.tree_map_with_path(fill, shapes)
    assert sorted(used) == sorted(k for k in g if k.startswith("w."))
    return g, model, variables


def close(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=5e-5)


def test_time_features(golden):
    g = golden("06b_dit_meanflow_official.npz")
    theirs = g["out.t_embedding_256"]
    close(time_features(jnp.asarray(g["in.t"])), theirs)


def test_positions(golden):
    g = golden("06b_dit_meanflow_official.npz")
    grid = int(g["cfg.input_size"]) // int(g["cfg.patch_size"])
    theirs = g["out.pos_embed"]
    close(sincos_table(grid, int(g["cfg.hidden_size"])), theirs.reshape(grid**2, -1))


def test_mean_velocity_and_its_derivative(case):
    g, model, variables = case
    z, (t, h, label, *_) = inputs(g)
    ones = jnp.ones_like(t)  # dt/dt = 1 and dr/dt = 0, so dh/dt = 1

    @jax.jit
    def derivative(variables, z, t, h, tangent):
        def u(z, t, h):
            return model.apply(variables, z, Condition(t, h, label))

        return jax.jvp(u, (z, t, h), (tangent, ones, ones))

    u, du_dt = derivative(variables, z, t, h, jnp.asarray(g["in.tangent_x"]))
    close(u, g["out.u"])
    close(du_dt, g["out.du_dt"])
