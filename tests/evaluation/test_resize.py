"""Each resize against an independent program, on random bytes.

`python tests/evaluation/test_resize.py` prints the largest differences as a table.
"""

import jax
import numpy as np
import pytest
from PIL import Image

from drifting.core.errors import ConfigError
from drifting.evaluation import resize

SIZES = [(32, 32), (64, 48), (299, 299), (512, 400), (512, 512), (1024, 1024)]


def images(height, width, channels=3):
    shape = (2, height, width, channels)
    return np.random.default_rng(height).integers(0, 256, shape, np.uint8)


def resized(mode, given):
    found = jax.jit(lambda x: resize.resize(x, mode, 299))(given)
    assert found.shape == (2, 299, 299, 3)
    return np.asarray(found)


def pillow(given):
    """Bicubic on single-channel float images, clipped: clean-fid's definition."""

    def channel(plane):
        image = Image.fromarray(plane.astype(np.float32), mode="F")
        return np.asarray(image.resize((299, 299), Image.Resampling.BICUBIC)).clip(0, 255)

    return np.stack(
        [np.stack([channel(x[..., c]) for c in range(x.shape[-1])], axis=-1) for x in given]
    )


def bilinear(given, shift):
    """Directly: the four pixels around a source position, clamped to the border."""
    _, height, width, _ = given.shape
    x = given.astype(np.float64)
    rows = np.clip((np.arange(299) + shift) * height / 299 - shift, 0, None)
    columns = np.clip((np.arange(299) + shift) * width / 299 - shift, 0, None)
    r0, c0 = np.floor(rows).astype(int), np.floor(columns).astype(int)
    r1, c1 = np.minimum(r0 + 1, height - 1), np.minimum(c0 + 1, width - 1)
    a, b = (rows - r0)[:, None, None], (columns - c0)[None, :, None]
    top = x[:, r0][:, :, c0] * (1 - b) + x[:, r0][:, :, c1] * b
    bottom = x[:, r1][:, :, c0] * (1 - b) + x[:, r1][:, :, c1] * b
    return top * (1 - a) + bottom * a


DEFINITIONS = {
    "clean": pillow,
    "legacy_tensorflow": lambda x: bilinear(x, 0.0),
    "legacy_pytorch": lambda x: bilinear(x, 0.5),
}


def largest_difference(mode, size):
    """In grey levels."""
    given = images(*size)
    return np.abs(resized(mode, given) - DEFINITIONS[mode](given)).max()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", resize.MODES)
def test_against_another_program(mode, size):
    assert largest_difference(mode, size) < 2e-3


def test_against_torch():
    torch = pytest.importorskip("torch")
    given = images(32, 32)
    x = torch.from_numpy(given).permute(0, 3, 1, 2).float()
    expected = torch.nn.functional.interpolate(
        x, size=(299, 299), mode="bilinear", align_corners=False
    )
    expected = expected.permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(resized("legacy_pytorch", given), expected, atol=2e-3)


def test_against_tensorflow():
    tf = pytest.importorskip("tensorflow")
    given = images(32, 48)
    expected = tf.compat.v1.image.resize_bilinear(given.astype(np.float32), (299, 299))
    np.testing.assert_allclose(resized("legacy_tensorflow", given), expected, atol=2e-3)


def test_modes_differ_where_it_matters():
    given = images(32, 32)
    found = {mode: resized(mode, given) for mode in resize.MODES}
    assert np.abs(found["legacy_tensorflow"] - found["legacy_pytorch"]).max() > 20
    assert np.abs(found["clean"] - found["legacy_pytorch"]).max() > 5


@pytest.mark.parametrize("mode", resize.MODES)
def test_grey_is_three_equal_channels(mode):
    grey = images(28, 28, channels=1)
    found = resized(mode, grey)
    np.testing.assert_array_equal(found, resized(mode, np.repeat(grey, 3, axis=-1)))


@pytest.mark.parametrize("mode", resize.MODES)
def test_an_image_of_that_size_keeps_its_bytes(mode):
    given = images(299, 299)
    np.testing.assert_allclose(resized(mode, given), given, atol=1e-3)


def test_ranges_of_the_network():
    x = np.asarray([0.0, 128.0, 255.0])
    for mode, expected in {
        "clean": [-1.0, 0.0, 127 / 128],
        "legacy_tensorflow": [-1.0, 0.0, 127 / 128],
        "legacy_pytorch": [-1.0, 256 / 255 - 1, 1.0],
    }.items():
        np.testing.assert_allclose(resize.to_network_range(x, mode), expected, atol=1e-6)


def test_unknown_mode():
    with pytest.raises(ConfigError, match="did you mean 'legacy_pytorch'"):
        resize.require_mode("legacy_pytorh")


if __name__ == "__main__":
    print("| size |", " | ".join(resize.MODES), "|\n| --- |", " --- |" * len(resize.MODES))
    for size in SIZES:
        found = [f"{largest_difference(mode, size):.1g}" for mode in resize.MODES]
        print(f"| {size[0]}x{size[1]} |", " | ".join(found), "|")
