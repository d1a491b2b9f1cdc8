"""The masked autoencoder's encoder and its features against reference numbers."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import activations, mae_resnet

PARTS = {"first": "conv1 gn1", "second": "conv2 gn2", "projection": "proj_conv proj_gn"}


def reference_name(path: tuple[str, ...]) -> str:
    """The reference's name for the parameter of our encoder."""
    head, leaf, is_norm = path[0], path[-1], path[-2].endswith("norm")
    if head == "stem":
        return f"{'gn1' if is_norm else 'conv1'}.{leaf}"
    if head.endswith("_norm"):
        return f"layer{head.removesuffix('_norm').removeprefix('stage')}_norm.{leaf}"
    stage, block = (int(n) - 1 for n in re.fullmatch(r"stage(\d+)_block(\d+)", head).groups())
    return f"stages_{stage}.layers_{block}.{PARTS[path[1]].split()[is_norm]}.{leaf}"


def reference_maps(blocks: tuple[int, ...], every_block: int) -> dict[str, str]:
    """The maps from which features are made, in order of depth, and the reference's names."""
    names = {"stem": "conv1"}
    for i, count in enumerate(blocks, start=1):
        counted = range(every_block, count + 1, every_block) if every_block else ()
        names |= {f"stage{i}_block{j}": f"layer{i}_blk{j}" for j in counted}
        names[f"stage{i}"] = f"layer{i}"
    return names


def reference_features(
    maps: dict[str, jax.Array], blocks: tuple[int, ...], every_block: int
) -> list[str]:
    """The reference's names for the stacks of our maps, in our order."""
    names = []
    for ours, name in reference_maps(blocks, every_block).items():
        sides = maps[ours].shape[1:3]
        sizes = [f"_{s}" for s in activations.PATCH_SIZES if not any(n % s for n in sides)]
        names.append(name)
        names += [f"{name}_{statistic}{s}" for s in ["", *sizes] for statistic in ("mean", "std")]
    return names


def asked_for(name: str, g: dict[str, np.ndarray]) -> bool:
    """Ours always takes patches with sides 2 and 4; a file may have been made with fewer."""
    patches = re.fullmatch(r".*_(mean|std)_(\d+)", name)
    return not patches or int(patches[2]) in g[f"cfg.patch_{patches[1]}_size"]


@pytest.fixture(scope="module")
def case(golden):
    g = golden("12_mae_official.npz")
    blocks, every_block = tuple(int(n) for n in g["cfg.layers"]), int(g.get("cfg.every_k_block", 0))
    folded = g["w.encoder.conv1.kernel"].shape[2]  # p * p * C; cfg.patch_size is the mask's
    model = mae_resnet.MaskedAutoencoder(
        num_classes=int(g["cfg.num_classes"]),
        channels=g["in.x"].shape[3],
        base_channels=int(g["cfg.base_channels"]),
        blocks=blocks,
        input_patch_size=math.isqrt(folded // g["in.x"].shape[3]),
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
        stacks = activations.location_stacks(out, every_block)
        norm_x, _ = activations.input_stacks(x, model.input_patch_size)
        names = ["norm_x", *reference_features(out.maps, blocks, every_block)]
        named = zip(names, (norm_x, *stacks), strict=True)
        return {name: stack for name, stack in named if asked_for(name, g)}

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
