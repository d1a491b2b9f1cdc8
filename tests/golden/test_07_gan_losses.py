"""The losses of real and of fake images against reference numbers, from a stored map of logits."""

import jax
import numpy as np
import pytest

from drifting.losses import adversarial

OF = {"real": adversarial.real_loss, "fake": adversarial.fake_loss}


@pytest.fixture(scope="module")
def g(golden):
    return golden("07_cut_networks.npz")


@pytest.mark.parametrize("target", OF)
@pytest.mark.parametrize("name", ["lsgan", "vanilla", "nonsaturating", "wgangp"])
def test_loss_of_a_map(g, name, target):
    expected = g[f"out.gan.{name}.{target}"]
    found = OF[target](name, g["out.D.map"])
    np.testing.assert_allclose(found, np.mean(expected), rtol=1e-4, atol=5e-5)
    if name == "nonsaturating":  # there, one value per image
        each = jax.vmap(lambda logits: OF[target](name, logits))(g["out.D.map"])
        np.testing.assert_allclose(each, expected, rtol=1e-4, atol=5e-5)
