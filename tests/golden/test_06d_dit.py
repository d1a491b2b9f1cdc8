"""The DiT against the numbers of kylevedder/DenoisingZoo."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import dit
from models.conditions import Condition

LAYERS = {
    "patch_embed": "x_embedder",
    "conditioning/t_embed/in": "t_embedder.mlp.0",
    "conditioning/t_embed/out": "t_embedder.mlp.2",
    "conditioning/h_embed/in": "r_embedder.mlp.0",
    "conditioning/h_embed/out": "r_embedder.mlp.2",
    "final_modulation/linear": "final_layer.adaLN_modulation.1",
    "final_linear": "final_layer.linear",
}
PLAIN = {
    "position": "pos_embed",
    "conditioning/label/embedding": "y_embedder.embedding_table.weight",
}
BLOCK_LAYERS = {
    "modulation/linear": "adaLN_modulation.1",
    "attention/qkv": "attn.qkv",
    "attention/proj": "attn.proj",
    "mlp_in": "mlp.fc1",
    "mlp_out": "mlp.fc2",
}
TABLE = "w.y_embedder.embedding_table.weight"


def reference_name(path: str) -> str:
    """DenoisingZoo's name for our parameter."""
    if path in PLAIN:
        return f"w.{PLAIN[path]}"
    head, _, rest = path.partition("/")
    layers, prefix = LAYERS, "w."
    if head.startswith("block_"):
        layers, prefix, path = BLOCK_LAYERS, f"w.blocks.{head[6:]}.", rest
    layer, leaf = path.rsplit("/", 1)
    name = layers[layer.removesuffix("/dense")]
    return f"{prefix}{name}.{'weight' if leaf == 'kernel' else 'bias'}"


def to_ours(array: np.ndarray, path: str) -> np.ndarray:
    if not path.endswith("kernel"):
        return array
    if array.ndim == 4:  # convolution O I H W -> (H W I) x O
        return np.transpose(array, (2, 3, 1, 0)).reshape(-1, array.shape[0])
    return array.T


def nhwc(array):
    return jnp.asarray(np.transpose(array, (0, 2, 3, 1)))


def nchw(array):
    return np.transpose(np.asarray(array), (0, 3, 1, 2))


def inputs(g):
    """The labels, or None if the network of the file has no classes."""
    r, t = jnp.asarray(g["in.r_t"]).T
    labels = jnp.asarray(g["in.labels"]) if "in.labels" in g else None
    return nhwc(g["in.x"]), Condition(t, t - r, labels)


@pytest.fixture(scope="module")
def case(golden):
    g = golden("06d_dit_denoisingzoo.npz")
    width = int(g["cfg.hidden_size"])
    model = dit.DiT(
        # Without label dropout DenoisingZoo has no null label; its last class takes that place.
        num_classes=g[TABLE].shape[0] - 1 if TABLE in g else 0,
        patch_size=int(g["cfg.patch_size"]),
        hidden_size=width,
        depth=int(g["cfg.depth"]),
        num_heads=int(g["cfg.num_heads"]),
        mlp_ratio=g["w.blocks.0.mlp.fc1.bias"].shape[0] // width,
        position="learned" if "w.pos_embed" in g else "sincos",
        time_planes=g["w.x_embedder.weight"].shape[1] == int(g["cfg.in_channels"]) + 2,
        shared_time="w.r_embedder.mlp.0.weight" not in g,
    )
    shapes = jax.eval_shape(model.init, jax.random.key(0), *inputs(g))
    used = []

    def fill(path, leaf):
        path = "/".join(k.key for k in path[1:])
        used.append(reference_name(path))
        array = to_ours(g[used[-1]], path)
        assert array.shape == leaf.shape, path
        return jnp.asarray(array)

    variables = jax.tree_util.tree_map_with_path(fill, shapes)
    assert sorted(used) == sorted(k for k in g if k.startswith("w."))
    return g, model, variables


def test_mean_velocity_and_its_derivative(case):
    g, model, variables = case
    z, (t, h, label, *_) = inputs(g)
    ones = jnp.ones_like(t)  # dt/dt = 1 and dr/dt = 0, so dh/dt = 1

    @jax.jit
    def derivative(variables, z, t, h, tangent):
        def u(z, t, h):
            return model.apply(variables, z, Condition(t, h, label))

        return jax.jvp(u, (z, t, h), (tangent, ones, ones))

    u, du_dt = derivative(variables, z, t, h, nhwc(g["in.tangent_x"]))
    np.testing.assert_allclose(nchw(u), g["out.u"], rtol=1e-4, atol=5e-5)
    np.testing.assert_allclose(nchw(du_dt), g["out.du_dt"], rtol=1e-4, atol=5e-5)
