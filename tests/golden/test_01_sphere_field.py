"""The sphere form's field against reference numbers, in double and single precision."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from array_names import found

from drifting.fields import kernel

TEMPERATURE = re.compile(r"f64\.V\.self_mask\.tau([\d.]+)")
LARGER = re.compile(r"f64\.big\.V\.self_mask\.tau([\d.]+)")
TOY_STEP = re.compile(r"out\.toy\.step_tau([\d.]+)_eta([\d.]+)")
# The cases differ in how the field is called, not in size.
CASES = (
    "self_mask",
    "self_nomask",
    "other_mask",
    "other_nomask",
    "same_count_mask",
    "same_count_nomask",
)


@pytest.fixture(scope="module")
def g(golden):
    return golden("01_kernel_seed.npz")


@pytest.fixture(scope="module")
def named(g):
    """The temperatures by their names in the file, lowest first."""
    names = sorted((m[1] for m in found(g, TEMPERATURE)), key=float)
    return {name: float(name) for name in names}


@pytest.fixture(scope="module")
def temperatures(named):
    return tuple(named.values())


def sets(g, case, dtype):
    """x, positives, negatives [1, N, D] of a case, and whether the reference masked the diagonal.

    The reference masks wherever the counts agree, even for different sets (`same_count_mask`):
    here that is an argument, so the same numbers need it said.
    """
    name, flag = case.rsplit("_", 1)
    negatives = {"self": "in.x", "other": "in.y_neg_other", "same_count": "in.y_neg_same_count"}
    arrays = [g["in.x"], g["in.y_pos"], g[negatives[name]]]
    masked = flag == "mask" and name != "other"
    return [jnp.asarray(a, dtype)[None] for a in arrays], masked


@pytest.mark.parametrize("case", CASES)
def test_field_in_double_precision(g, named, temperatures, case):
    with jax.enable_x64(True):
        arrays, masked = sets(g, case, jnp.float64)
        v = kernel.drift(*arrays, temperatures, masked)
        for i, t in enumerate(named):
            np.testing.assert_allclose(v[i, 0], g[f"f64.V.{case}.tau{t}"], rtol=0, atol=1e-10)


@pytest.mark.parametrize("case", CASES)
def test_field_in_single_precision(g, named, temperatures, case):
    arrays, masked = sets(g, case, jnp.float32)
    v = kernel.drift(*arrays, temperatures, masked)
    for i, t in enumerate(named):
        np.testing.assert_allclose(v[i, 0], g[f"f64.V.{case}.tau{t}"], rtol=0, atol=1e-6)
        np.testing.assert_allclose(v[i, 0], g[f"out.V.{case}.tau{t}"], rtol=0, atol=2e-6)


def test_two_sets_of_equal_count_are_not_taken_for_one(g, named, temperatures):
    """The mask is an argument: when it is off, equal counts change nothing."""
    arrays, _ = sets(g, "same_count_nomask", jnp.float32)
    v = kernel.drift(*arrays, temperatures, False)[-1, 0]  # at the highest temperature
    unmasked, masked = (f"f64.V.same_count_{flag}.tau{[*named][-1]}" for flag in ("nomask", "mask"))
    np.testing.assert_allclose(v, g[unmasked], rtol=0, atol=1e-6)
    assert np.abs(v - g[masked]).max() > 1e-3


@pytest.mark.parametrize("case,masked", [("self_mask", True), ("other", False)])
@pytest.mark.parametrize("kind", ["norm", "raw"])
def test_sum_over_temperatures(g, temperatures, case, masked, kind):
    names = ("in.x", "in.y_pos", "in.x" if masked else "in.y_neg_other")
    for dtype, atol in ((jnp.float64, 1e-7), (jnp.float32, 1e-4)):
        with jax.enable_x64(dtype == jnp.float64):
            arrays = [jnp.asarray(g[n], dtype)[None] for n in names]
            v = kernel.drift(*arrays, temperatures, masked)
            total = jnp.sum(kernel.unit_rms(v) if kind == "norm" else v, axis=0)[0]
            np.testing.assert_allclose(total, g[f"f64.Vmulti.{case}_{kind}"], rtol=0, atol=atol)
            np.testing.assert_allclose(total, g[f"out.Vmulti.{case}_{kind}"], rtol=0, atol=1e-4)


def test_normalised_sum_brought_to_unit_rms(g):
    v = jnp.asarray(g["out.Vmulti.self_mask_norm"])[None]
    expected = g["out.normalize_drift_of_self_mask_norm"]
    np.testing.assert_allclose(kernel.unit_rms(v)[0], expected, rtol=1e-6)


def test_larger_sets(g):
    with jax.enable_x64(True):
        x, y = (jnp.asarray(g[f"in.big.{n}"], jnp.float64)[None] for n in ("x", "y_pos"))
        for m in found(g, LARGER):
            v = kernel.drift(x, y, x, (float(m[1]),), True)[0, 0]
            np.testing.assert_allclose(v, g[m[0]], rtol=0, atol=1e-10, err_msg=m[0])


def test_distance_statistics(g, temperatures):
    x, y = (jnp.asarray(g[n])[None] for n in ("in.x", "in.y_pos"))
    metrics = kernel.sphere_target(x, y, temperatures).metrics
    for name in ("feature_dist_mean", "feature_dist_var"):
        np.testing.assert_allclose(metrics[name], g[f"out.{name}"], rtol=1e-5)


def test_toy_step(g):
    x, y = (jnp.asarray(g[n])[None] for n in ("in.toy.points", "in.toy.target"))
    for m in found(g, TOY_STEP):
        step = x[0] + float(m[2]) * kernel.drift(x, y, x, (float(m[1]),), True)[0, 0]
        np.testing.assert_allclose(step, g[m[0]], rtol=0, atol=1e-6, err_msg=m[0])
