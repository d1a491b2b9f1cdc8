"""PatchNCE against reference numbers: samples, losses and gradients, with and without an MLP."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from torch_weights import nchw, nhwc

from drifting.losses import patchnce

LAYERS = range(3)


@pytest.fixture(scope="module")
def g(golden):
    return golden("07b_patchnce.npz")


def close(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def mlp(g, layer, x):
    """The reference's linear-ReLU-linear head of a layer."""
    w = {
        name: g[f"w.F.mlp_{layer}.{name}"] for name in ("0.weight", "0.bias", "2.weight", "2.bias")
    }
    return (
        jax.nn.relu(x @ w["0.weight"].T + w["0.bias"][None, None]) @ w["2.weight"].T
        + (w["2.bias"][None, None])
    )


def samples(g, head, kind, maps):
    """The normalised features [B, P, D] of each layer; kind is q or k."""
    found = [patchnce.gather(x, g[f"in.patch_ids{i}"]) for i, x in zip(LAYERS, maps, strict=True)]
    if head == "mlp":
        found = [mlp(g, i, x) for i, x in zip(LAYERS, found, strict=True)]
    return [patchnce.normalize(x) for x in found]


def maps_of(g, kind):
    return [nhwc(g[f"in.feat_{kind}{i}"]) for i in LAYERS]


@pytest.mark.parametrize("head", ["nomlp", "mlp"])
@pytest.mark.parametrize("kind", ["q", "k"])
def test_sampled_features(g, head, kind):
    for i, found in enumerate(samples(g, head, kind, maps_of(g, kind))):
        close(found.reshape(-1, found.shape[-1]), g[f"out.{head}.sample_{kind}{i}"])


@pytest.mark.parametrize("head", ["nomlp", "mlp"])
@pytest.mark.parametrize("negatives", ["imgneg", "allneg"])
def test_losses_and_gradients(g, head, negatives):
    def losses(maps):
        queries, keys = samples(g, head, "q", maps), samples(g, head, "k", maps_of(g, "k"))
        return [
            patchnce.patchnce(
                q, k, temperature=float(g["in.nce_T"]), across_batch=negatives == "allneg"
            )
            for q, k in zip(queries, keys, strict=True)
        ]

    def total(maps):
        return jnp.mean(jnp.stack([jnp.mean(x) for x in losses(maps)]))

    queries = maps_of(g, "q")
    for i, found in enumerate(losses(queries)):
        close(found.ravel(), g[f"out.{head}.{negatives}.loss_per_patch{i}"])
    loss, grads = jax.value_and_grad(total)(queries)
    close(loss, g[f"out.{head}.{negatives}.loss"])
    for i, grad in enumerate(grads):
        close(nchw(grad), g[f"grad.{head}.{negatives}.feat_q{i}"])
