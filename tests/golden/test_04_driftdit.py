"""The generator's forward pass, gradients and guidance against reference numbers."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from array_names import found

from drifting.methods.drifting.method import extrapolate
from models import drift_dit
from models.conditions import Condition
from models.layers.embeddings import guidance_features
from models.layers.positions import rotate

LAYERS = {
    "patch_embed": "patch_embed.proj",
    "final_linear": "final_layer.linear",
    "final_modulation/linear": "final_layer.adaLN_modulation.1",
    "conditioning/cfg_in": "alpha_embed.mlp.0",
    "conditioning/cfg_out": "alpha_embed.mlp.2",
}
PLAIN = {
    "registers": "register_tokens",
    "final_norm/weight": "final_layer.norm.weight",
    "conditioning/label/embedding": "label_embed.embedding_table.weight",
    "conditioning/style/embedding": "style_embed.codebook.weight",
}
BLOCK_LAYERS = {
    "attention/qkv": "attn.qkv",
    "attention/proj": "attn.proj",
    "mlp/w1": "mlp.w1",
    "mlp/w2": "mlp.w2",
    "mlp/w3": "mlp.w3",
    "modulation/linear": "adaLN_modulation.1",
}
GUIDED = re.compile(r"out\.cfg_train_alpha([\d.]+)")
BLOCK_PLAIN = {
    "norm1/weight": "norm1.weight",
    "norm2/weight": "norm2.weight",
    "attention/q_norm/weight": "attn.q_norm.weight",
    "attention/k_norm/weight": "attn.k_norm.weight",
}


def reference_name(path: str) -> tuple[str, bool]:
    """The reference's name for our parameter, and whether it is the kernel of a layer."""
    head, _, rest = path.partition("/")
    layers, plain, prefix = LAYERS, PLAIN, ""
    if head.startswith("block_"):
        path, prefix = rest, f"blocks.{head[6:]}."
        layers, plain = BLOCK_LAYERS, BLOCK_PLAIN
    if path in plain:
        return prefix + plain[path], False
    layer, leaf = path.removesuffix("/kernel").removesuffix("/bias"), path.rsplit("/", 1)[1]
    name = layers[layer.removesuffix("/dense")]
    return f"{prefix}{name}.{'weight' if leaf == 'kernel' else 'bias'}", leaf == "kernel"


def to_ours(array: np.ndarray, is_kernel: bool) -> np.ndarray:
    if not is_kernel:
        return array
    if array.ndim == 4:  # convolution O I H W -> (H W I) x O
        return np.transpose(array, (2, 3, 1, 0)).reshape(-1, array.shape[0])
    return array.T


@pytest.fixture(scope="module")
def case(golden):
    g = golden("04_driftdit.npz")
    width = int(g["cfg.hidden_size"])
    # The style codes (64 rows) and the 256 guidance features are constants of the network.
    model = drift_dit.DriftDiT(
        num_classes=int(g["cfg.num_classes"]),
        patch_size=int(g["cfg.patch_size"]),
        hidden_size=width,
        depth=int(g["cfg.depth"]),
        num_heads=int(g["cfg.num_heads"]),
        mlp_ratio=g["w.blocks.0.mlp.w1.weight"].shape[0] // width,
        num_registers=int(g["cfg.num_register_tokens"]),
    )
    shapes = jax.eval_shape(model.init, jax.random.key(0), *inputs(g))
    used = set()

    def fill(path, leaf):
        name, is_kernel = reference_name("/".join(k.key for k in path[1:]))
        used.add("w." + name)
        array = to_ours(g["w." + name], is_kernel)
        assert array.shape == leaf.shape, name
        return jnp.asarray(array)

    variables = jax.tree_util.tree_map_with_path(fill, shapes)
    assert used == {k for k in g if k.startswith("w.")}, "every reference weight is used once"
    return g, model, variables


def nhwc(array):
    return jnp.asarray(np.transpose(array, (0, 2, 3, 1)))


def nchw(array):
    return np.transpose(np.asarray(array), (0, 3, 1, 2))


def inputs(g, labels=None):
    labels = g["in.labels"] if labels is None else labels
    condition = Condition(
        label=jnp.asarray(labels),
        guidance=jnp.asarray(g["in.alpha"]),
        style=jnp.asarray(g["in.style_idx"]),
    )
    return nhwc(g["in.noise"]), condition


def dropped(g):
    return np.where(g["in.force_drop"] == 1, g["cfg.num_classes"], g["in.labels"])


def close(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=2e-5)


def relative(ours, theirs):
    error = np.linalg.norm(np.asarray(ours) - theirs) / np.linalg.norm(theirs)
    assert error < 1e-4, error


def test_fourier_features(golden):
    g = golden("04_driftdit.npz")
    close(guidance_features(jnp.asarray(g["in.alpha"])), g["out.alpha_fourier"])


def test_rotary_tables(golden):
    g = golden("04_driftdit.npz")
    tokens, dimension = g["buf.rope.cos"].shape
    ones = jnp.concatenate([jnp.ones(dimension // 2), jnp.zeros(dimension // 2)])
    turned = rotate(jnp.broadcast_to(ones[None, None, None, :], (1, tokens, 1, dimension)))
    half = dimension // 2
    close(turned[0, :, 0, :half], g["buf.rope.cos"][:, :half])
    close(turned[0, :, 0, half:], g["buf.rope.sin"][:, :half])


def test_conditioning(case):
    g, model, variables = case
    noise, condition = inputs(g)
    conditioning = drift_dit.Conditioning(model.num_classes, model.hidden_size)
    params = {"params": variables["params"]["conditioning"]}
    close(conditioning.apply(params, condition, len(noise)), g["out.conditioning"])


def test_forward(case):
    g, model, variables = case
    close(nchw(model.apply(variables, *inputs(g))), g["out.image"])


def test_a_dropped_label_has_an_effect(case):
    g, model, variables = case
    image = nchw(model.apply(variables, *inputs(g, dropped(g))))
    close(image, g["out.image_train_force_drop"])
    # jaysarva/drifting-model ignores dropping outside training, so that its output equals the
    # plain one. Ours must not.
    ignored = g["out.image_eval_force_drop_is_ignored"]
    close(ignored, g["out.image"])
    rows = np.flatnonzero(g["in.force_drop"] == 1)
    assert np.abs(image[rows] - ignored[rows]).max() > 0.1


def test_guidance_has_an_effect(case):
    g, model, variables = case
    noise, (_, _, labels, _, _) = inputs(g)
    half = noise.shape[0]
    style, null_style = (
        jnp.asarray(g["in.style_idx_cfg"][:half]),
        jnp.asarray(g["in.style_idx_cfg"][half:]),
    )

    def generate(noise, labels, scale, style):
        condition = Condition(label=labels, guidance=scale, style=style)
        return model.apply(variables, noise, condition)

    for m in found(g, GUIDED):
        scale = jnp.full((half,), float(m[1]))
        guided = nchw(
            extrapolate(generate, noise, labels, model.num_classes, scale, style, null_style)
        )
        close(guided, g[m[0]])
        assert np.abs(guided - g[m[0].replace("train", "eval")]).max() > 0.1


def test_gradients(case):
    g, model, variables = case
    cotangent = nhwc(g["in.cotangent"])

    def scalar(variables, noise):
        return jnp.sum(model.apply(variables, noise, inputs(g)[1]) * cotangent)

    grads, grad_noise = jax.jit(jax.grad(scalar, argnums=(0, 1)))(variables, inputs(g)[0])
    relative(nchw(grad_noise), g["grad.noise"])
    compared = {"grad.noise"}
    for path, ours in jax.tree_util.tree_leaves_with_path(grads["params"]):
        name, is_kernel = reference_name("/".join(k.key for k in path))
        if f"grad.{name}" in g:
            relative(ours, to_ours(g[f"grad.{name}"], is_kernel))
            compared.add(f"grad.{name}")
    assert compared == {k for k in g if k.startswith("grad.")}
    assert len(compared) > 1
