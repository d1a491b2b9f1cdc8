"""The conversion to CIELAB against known values, and the palette prior by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drifting.losses import palette

# Of 8-bit sRGB colours under D65, as colour calculators and scikit-image give them.
KNOWN = {
    (255, 255, 255): (100.0, 0.0, 0.0),
    (0, 0, 0): (0.0, 0.0, 0.0),
    (255, 0, 0): (53.24, 80.09, 67.20),
    (0, 255, 0): (87.73, -86.18, 83.18),
    (0, 0, 255): (32.30, 79.19, -107.86),
    (255, 255, 0): (97.14, -21.55, 94.48),
    (119, 119, 119): (50.03, 0.0, 0.0),
    (5, 5, 5): (1.37, 0.0, 0.0),  # on the lines near black: 903.3 * 5 / 255 / 12.92
}


@pytest.mark.parametrize("color,expected", KNOWN.items())
def test_known_colors(color, expected):
    found = palette.lab(jnp.array(color, jnp.float32) / 127.5 - 1.0)
    np.testing.assert_allclose(found, expected, atol=0.01)


def test_the_moments_of_grey_levels():
    """Greys differ in lightness alone: black and white have L* 0 and 100, deviations 50."""
    black_and_white = jnp.stack([-jnp.ones((4, 4, 3)), jnp.ones((4, 4, 3))])
    white = jnp.ones((3, 4, 4, 3))
    # The mean differs by 50, the standard deviation by 50; four of the six moments agree.
    found = palette.palette_loss(black_and_white, white)
    np.testing.assert_allclose(found, (0.5 + 0.5) / 6, atol=1e-5)
    np.testing.assert_allclose(palette.palette_loss(white, white), 0.0, atol=1e-6)
    shuffled = jnp.flip(black_and_white, axis=0)
    np.testing.assert_allclose(palette.palette_loss(shuffled, black_and_white), 0.0, atol=1e-6)


def test_gradients_are_finite_and_of_fakes_alone():
    real = jax.random.uniform(jax.random.key(0), (2, 3, 3, 3), minval=-1.0)
    slope = jax.grad(palette.palette_loss, argnums=(0, 1))
    for fake in (-jnp.ones((2, 3, 3, 3)), jnp.ones((1, 3, 3, 3)), -real):  # constant ones too
        ours, theirs = slope(fake, real)
        assert np.isfinite(ours).all() and np.abs(ours).max() > 0.0
        np.testing.assert_array_equal(theirs, 0.0)


def test_grey_images_are_refused():
    with pytest.raises(ValueError, match="three channels, not 1"):
        palette.lab(jnp.zeros((2, 4, 4, 1)))
