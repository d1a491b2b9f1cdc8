"""The learned field against the set-attention field of jaysarva/drifting-model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drifting.fields import learned

CASES = {
    "neg_other": "absent",
    "neg_self_mask": "masked",
    "neg_self_nomask": "kept",
}
FORMS = ("proj", "noproj")

field = jax.jit(learned.drift, static_argnames="self_pairs")
operator = jax.jit(learned.set_operator)


@pytest.fixture(scope="module")
def numbers(golden):
    return golden("03_learned_field.npz")


def layer(numbers, prefix):
    return {"kernel": numbers[f"{prefix}.weight"].T, "bias": numbers[f"{prefix}.bias"]}


def to_params(numbers, prefix):
    """Our parameters from PyTorch's names; the gradients have the same names."""
    score = layer(numbers, f"{prefix}.score_net.0")
    params = {"score": {"hidden": score, "out": numbers[f"{prefix}.score_net.2.weight"][0]}}
    if f"{prefix}.out_proj.weight" in numbers:
        hidden, out = layer(numbers, f"{prefix}.g.0"), layer(numbers, f"{prefix}.g.2")
        params["represent"] = {"hidden": hidden, "out": out}
        params["back"] = numbers[f"{prefix}.out_proj.weight"].T
    return params


def drift(params, numbers, x, case):
    """V of the golden case, x's own gradient flowing through the negatives that are x."""
    negatives = numbers["in.y_neg"][None] if case == "neg_other" else x
    sets = learned.Sets(x, numbers["in.y_pos"][None], negatives)
    return learned.drift(params, sets, CASES[case])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("case", CASES)
def test_field_and_its_gradients(numbers, form, case):
    params = to_params(numbers, f"w.{form}")

    def product(params, x):
        v = drift(params, numbers, x, case)
        return jnp.sum(v * numbers["in.cotangent"][None]), v

    gradient = jax.jit(jax.grad(product, argnums=(0, 1), has_aux=True))
    (of_params, of_x), v = gradient(params, numbers["in.x"][None])
    np.testing.assert_allclose(v[0], numbers[f"out.{form}.{case}.V"], atol=2e-6, rtol=0)
    np.testing.assert_allclose(of_x[0], numbers[f"out.{form}.{case}.grad_x"], atol=1e-5, rtol=0)
    expected = to_params(numbers, f"grad.{form}.{case}")
    assert jax.tree.structure(of_params) == jax.tree.structure(expected)
    for ours, theirs in zip(jax.tree.leaves(of_params), jax.tree.leaves(expected), strict=True):
        # In float32 the reference's gradients differ from float64 by up to 1.7e-5, ours by 0.6e-5.
        np.testing.assert_allclose(ours, theirs, atol=2.5e-5, rtol=0)
    # We leave out this bias: the softmax gives it no gradient in the reference either.
    assert np.abs(numbers[f"grad.{form}.{case}.score_net.2.bias"]).max() < 1e-5


@pytest.mark.parametrize("form", FORMS)
def test_set_operator(numbers, form):
    params = to_params(numbers, f"w.{form}")
    moved = operator(params, numbers["in.x"][None], numbers["in.y_pos"][None])
    np.testing.assert_allclose(moved[0], numbers[f"out.{form}.S_pos"], atol=2e-6, rtol=0)


@pytest.mark.parametrize("form", FORMS)
def test_singletons_and_an_empty_set(numbers, form):
    params = to_params(numbers, f"w.{form}")
    x, positives = numbers["in.x"][None], numbers["in.y_pos"][None]
    for case, self_pairs in (("singleton_mask", "masked"), ("singleton_nomask", "kept")):
        one = x[:, :1]
        v = field(params, learned.Sets(one, positives, one), self_pairs)
        np.testing.assert_allclose(v[0], numbers[f"out.{form}.{case}.V"], atol=2e-6, rtol=0)
    nothing = learned.Sets(x, positives[:, :0], numbers["in.y_neg"][None])
    v = field(params, nothing, "absent")
    np.testing.assert_allclose(v[0], numbers[f"out.{form}.empty_pos.V"], atol=2e-6, rtol=0)
