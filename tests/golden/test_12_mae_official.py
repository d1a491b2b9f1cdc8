"""The masked autoencoder's encoder and its features against reference numbers."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import activations, mae_resnet

PARTS = {"first": "conv1 gn1", "second": "conv2 gn2", "projection": "proj_conv proj_gn"}
MAPS = {  # of ours, in order of depth
    "stem": "conv1",
    "stage1_block2": "layer1_blk2",
    **{f"stage{i}": f"layer{i}" for i in (1, 2, 3, 4)},
}


def reference_name(path: tuple[str, ...]) -> str:
    """The reference's name of our encoder's parameter."""
    head, leaf, is_norm = path[0], path[-1], path[-2].endswith("norm")
    if head == "stem":
        return f"{'gn1' if is_norm else 'conv1'}.{leaf}"
    if head.endswith("_norm"):
        return f"layer{head[5]}_norm.{leaf}"
    stage, block = (int(n) - 1 for n in re.fullmatch(r"stage(\d)_block(\d)", head).groups())
    return f"stages_{stage}.layers_{block}.{PARTS[path[1]].split()[is_norm]}.{leaf}"


def reference_features(maps: dict[str, jax.Array]) -> list[str]:
    """The reference's names of the stacks of our maps, in our order."""
    names = []
    for ours, name in MAPS.items():
        sizes = [f"_{s}" for s in (2, 4) if maps[ours].shape[1] % s == 0]
        names.append(name)
        names += [f"{name}_{statistic}{s}" for s in ["", *sizes] for statistic in ("mean", "std")]
    return names


@pytest.fixture(scope="module")
def case(golden):
    g = golden("12_mae_official.npz")
    model = mae_resnet.MaskedAutoencoder(
        num_classes=int(g["cfg.num_classes"]),
        channels=int(g["cfg.in_channels"]),
        base_channels=int(g["cfg.base_channels"]),
        blocks=tuple(int(n) for n in g["cfg.layers"]),
    )
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), g["in.x"], False))["params"]
    used = set()

    def fill(path, leaf):
        name = "w.encoder." + reference_name(tuple(k.key for k in path))
        used.add(name)
        assert g[name].shape == leaf.shape, name
        return jnp.asarray(g[name])

    encoder = jax.tree_util.tree_map_with_path(fill, shapes["encoder"])
    assert used == {k for k in g if k.startswith("w.")}, "every reference weight is used once"
    classifier = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), shapes["classifier"])
    variables = {"params": {"encoder": encoder, "classifier": classifier}}

    def features(x):
        out = model.apply(variables, x, False)
        stacks = activations.location_stacks(out, int(g["cfg.every_k_block"]))
        norm_x, _ = activations.input_stacks(x, model.input_patch_size)
        names = ["norm_x", *reference_features(out.maps)]
        return dict(zip(names, (norm_x, *stacks), strict=True))

    return g, features


def test_every_feature_and_the_input_gradient(case):
    g, features = case
    cotangents = {k[13:]: v for k, v in g.items() if k.startswith("in.cotangent.")}

    def scalar(x):
        ours = features(x)
        total = sum(jnp.sum(ours[k] * jnp.swapaxes(v, 0, 1)) for k, v in cotangents.items())
        return total, ours

    grad, ours = jax.jit(jax.grad(scalar, has_aux=True))(jnp.asarray(g["in.x"]))
    theirs = {k[8:]: v for k, v in g.items() if k.startswith("out.act.")}
    assert set(ours) == set(theirs)
    for name, array in theirs.items():
        np.testing.assert_allclose(
            ours[name], np.swapaxes(array, 0, 1), rtol=1e-4, atol=5e-5, err_msg=name
        )
    np.testing.assert_allclose(grad, g["grad.x"], rtol=1e-4, atol=5e-5)
