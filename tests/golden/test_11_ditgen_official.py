"""The drifting release's generator against its numbers: the condition, and the samples."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import drift_dit_latent
from models.conditions import Condition

CORE = "LightningDiT_0."
LAYERS = {
    "conditioning/label": "Embed_0",
    "conditioning/guidance/in": "TimestepEmbedder_0.TorchLinear_0.Dense_0",
    "conditioning/guidance/out": "TimestepEmbedder_0.TorchLinear_1.Dense_0",
    "conditioning/guidance_norm": "RMSNorm_0",
    "patch_embed": CORE + "TorchLinear_0.Dense_0",
    "class_embed": CORE + "TorchLinear_1.Dense_0",
    "final_norm": CORE + "FinalLayer_0.RMSNorm_0",
    "final_modulation/linear": CORE + "FinalLayer_0.TorchLinear_0.Dense_0",
    "final_linear": CORE + "FinalLayer_0.TorchLinear_1.Dense_0",
}
PARAMETERS = {"position": CORE + "pos_embed", "class_tokens": CORE + "cls_embed"}
BLOCK_LAYERS = {
    "modulation/linear": "TorchLinear_0.Dense_0",
    "norm1": "RMSNorm_0",
    "norm2": "RMSNorm_1",
    "attention/qkv": "Attention_0.TorchLinear_0.Dense_0",
    "attention/q_norm": "Attention_0.q_norm",
    "attention/k_norm": "Attention_0.k_norm",
    "attention/proj": "Attention_0.TorchLinear_1.Dense_0",
    "mlp/w1": "SwiGLUFFN_0.TorchLinear_0.Dense_0",
    "mlp/w3": "SwiGLUFFN_0.TorchLinear_1.Dense_0",
    "mlp/w2": "SwiGLUFFN_0.TorchLinear_2.Dense_0",
    "mlp_in": "StandardMLP_0.TorchLinear_0.Dense_0",
    "mlp_out": "StandardMLP_0.TorchLinear_1.Dense_0",
}


def reference_name(path: str) -> str:
    """The release's name for our parameter, all but the tables of the style tokens."""
    if path in PARAMETERS:
        return PARAMETERS[path]
    layer, leaf = path.rsplit("/", 1)
    layer = layer.removesuffix("/dense")
    block = re.fullmatch(r"block_(\d+)/(.+)", layer)
    if block:
        return f"{CORE}blocks_{block[1]}.{BLOCK_LAYERS[block[2]]}.{leaf}"
    return f"{LAYERS[layer]}.{leaf}"


def tables(g):
    """The names of the tables of the style tokens, in their order."""
    return [f"w.noise_embeds_{i}.embedding" for i in range(g["in.noise_labels"].shape[1])]


@pytest.fixture(scope="module")
def case(golden):
    """The file, our network with its weights, and the network's inputs."""
    g = golden("11_ditgen_official.npz")
    has_style = int(g["cfg.noise_classes"]) > 0
    model = drift_dit_latent.DriftDiTLatent(
        # The release's table has no null class, so its last class stands for ours.
        num_classes=g["w.Embed_0.embedding"].shape[0] - 1,
        patch_size=int(g["cfg.patch_size"]),
        hidden_size=int(g["cfg.hidden_size"]),
        depth=int(g["cfg.depth"]),
        num_heads=int(g["cfg.num_heads"]),
        num_class_tokens=int(g["cfg.n_cls_tokens"]),
        condition_size=int(g["cfg.cond_dim"]),
        style_codes=int(g["cfg.noise_classes"]),
        norm="rms" if g["cfg.use_rmsnorm"] else "layer",
        qk_norm=bool(g["cfg.use_qknorm"]),
        swiglu=bool(g["cfg.use_swiglu"]),
        rotary=bool(g["cfg.use_rope"]),
    )
    condition = Condition(
        label=jnp.asarray(g["in.labels"]),
        guidance=jnp.asarray(g["in.cfg_scale"]),
        style=jnp.asarray(g["in.noise_labels"]) if has_style else None,
    )
    inputs = jnp.asarray(g["in.x_noise"]), condition
    used = set()

    def fill(path, leaf):
        name = "/".join(k.key for k in path[1:])
        names = tables(g) if name == "conditioning/style" else [f"w.{reference_name(name)}"]
        used.update(names)
        arrays = [g[n] for n in names]
        array = np.stack(arrays) if name == "conditioning/style" else arrays[0]
        assert array.shape == leaf.shape, name
        return jnp.asarray(array)

    shapes = jax.eval_shape(model.init, jax.random.key(0), *inputs)
    variables = jax.tree_util.tree_map_with_path(fill, shapes)
    assert used == {k for k in g if k.startswith("w.")}, "every weight of the file is used"
    return g, model, variables, inputs


def close(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=5e-5)


def test_the_condition(case):
    g, model, variables, (z, condition) = case
    conditioning = drift_dit_latent.Conditioning(
        model.num_classes, model.condition_size, model.style_codes
    )
    params = {"params": variables["params"]["conditioning"]}
    close(conditioning.apply(params, condition, len(z)), g["out.cond"])


def test_samples(case):
    g, model, variables, inputs = case
    close(jax.jit(model.apply)(variables, *inputs), g["out.samples"])


def test_positions_start_where_the_release_stores_them(case):
    g, model, _, (z, condition) = case
    fresh = jax.jit(model.init)(jax.random.key(0), z[:1], Condition(label=condition.label[:1]))
    close(fresh["params"]["position"], g["w.LightningDiT_0.pos_embed"])
