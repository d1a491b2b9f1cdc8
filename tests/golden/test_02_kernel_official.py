"""The distance form's loss and gradient against reference numbers of the released code."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drifting.fields import kernel

VARIANTS = ("pos_only", "pos_neg", "weighted", "weighted_R2", "train_style")


@pytest.fixture(scope="module")
def g(golden):
    return golden("02_kernel_official.npz")


def info_of(g, variant):
    """The scalars of a variant: the scale, and one for each temperature under its name."""
    return {k.rsplit("info.", 1)[1]: v for k, v in g.items() if k.startswith(f"out.{variant}.info")}


def temperatures_of(g, variant):
    """in.R_list, except for the variant with its own list, which only the array names contain."""
    if variant == "weighted_R2":
        return tuple(float(k.removeprefix("loss_")) for k in info_of(g, variant) if k != "scale")
    return tuple(float(str(t)) for t in g["in.R_list"])


def arguments(g, variant):
    arguments = dict(positives=jnp.asarray(g["in.pos"]), temperatures=temperatures_of(g, variant))
    if variant != "pos_only":
        arguments["negatives"] = jnp.asarray(g["in.neg"])
    if variant.startswith("weighted"):
        for ours, theirs in (("generated", "gen"), ("positive", "pos"), ("negative", "neg")):
            arguments[f"{ours}_weight"] = jnp.asarray(g[f"in.w_{theirs}"])
    if variant == "train_style":
        arguments["negative_weight"] = jnp.asarray(g["in.train_style.w_neg"])
    return arguments


def loss(generated, **arguments):
    target = kernel.distance_target(generated, **arguments)
    return kernel.regression_loss(generated, target), target


@pytest.mark.parametrize("variant", VARIANTS)
def test_loss_and_gradient(g, variant):
    def scalar(generated):
        value, target = loss(generated, **arguments(g, variant))
        return jnp.sum(value * jnp.asarray(g["in.cotangent"])), (value, target)

    grad, (value, target) = jax.jit(jax.grad(scalar, has_aux=True))(jnp.asarray(g["in.gen"]))
    np.testing.assert_allclose(value, g[f"out.{variant}.loss"], rtol=2e-5)
    np.testing.assert_allclose(grad, g[f"out.{variant}.grad_gen"], rtol=0, atol=2e-6)
    info = info_of(g, variant)
    assert set(info) == {"scale", *(f"loss_{t}" for t in temperatures_of(g, variant))}
    assert len(info) > 1
    for name, expected in info.items():
        ours = "distance_scale" if name == "scale" else f"force_{float(name[5:]):g}"
        np.testing.assert_allclose(target.metrics[ours], expected, rtol=2e-5)


def test_scale_is_shared_over_the_batch_unless_asked_per_label(g):
    gen, given = jnp.asarray(g["in.gen"]), arguments(g, "pos_neg")
    expected = g["out.pos_neg.loss_when_called_one_at_a_time"]
    told = dict(temperatures=given.pop("temperatures"))
    alone = [
        loss(gen[i : i + 1], **{k: v[i : i + 1] for k, v in given.items()}, **told)[0][0]
        for i in range(gen.shape[0])
    ]
    np.testing.assert_allclose(jnp.stack(alone), expected, rtol=2e-5)
    per_label, _ = loss(gen, **given, **told, scale_per_label=True)
    np.testing.assert_allclose(per_label, expected, rtol=2e-5)
    shared, _ = loss(gen, **given, **told)
    assert np.abs(shared - expected).max() > 1.0


def test_the_default_temperatures():
    """The defaults are those of the released code, whatever a file of numbers was made with."""
    default = inspect.signature(kernel.distance_target).parameters["temperatures"].default
    assert default == (0.02, 0.05, 0.2)


def test_distances(g):
    ours = kernel.distances(jnp.asarray(g["in.gen"]), jnp.asarray(g["in.pos"]))
    np.testing.assert_allclose(ours, g["out.cdist_gen_pos"], rtol=2e-5)
