"""Two sets of samples, as folders or npz files, in colour or grey: one set, one score."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import drifting
from drifting.core.errors import ConfigError
from drifting.evaluation.features import FeatureFunction, feature_function
from drifting.runs import evaluate, frozen
from input_pipeline import unresized
from input_pipeline.decoding import DataError

ROOT = pathlib.Path(__file__).resolve().parents[2]
METRICS = ["fid", "kid", "prdc", "neighbours"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DRIFTING_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def save(tmp_path):
    """save(name, images) -> a folder of PNGs, or X.npz as sample.py writes it."""

    def write(name, images, key="images"):
        path = tmp_path / name
        if path.suffix == ".npz":
            np.savez_compressed(path, **{key: images}, labels=np.zeros(len(images), np.int32))
            return path
        path.mkdir()
        for i, image in enumerate(images):
            Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(
                path / f"{i}.png"
            )
        return path

    return write


def images_of(count, channels, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 4, 4, channels), np.uint8)


def score(real, fake, **given):
    row = drifting.compare(real, fake, **{"features": "pixels", "metrics": METRICS, **given})
    return {k: v for k, v in row.items() if k not in ("real", "fake", "eval_seconds")}


@pytest.mark.parametrize("channels", [1, 3])
def test_an_npz_file_is_scored_as_a_folder_of_the_same_images(save, channels):
    real, fake = images_of(20, channels), images_of(15, channels, seed=1)
    folders = save("real", real), save("fake", fake)
    files = save("real.npz", real), save("fake.npz", fake)
    expected = score(*folders)
    assert expected["num_fake"] == 15 and expected["frechet_distance"] > 0
    for pair in (files, (folders[0], files[1]), (files[0], folders[1])):
        assert score(*pair) == expected
    assert score(files[0], save("adm.npz", fake, "arr_0")) == expected


def test_points_are_scored_as_points(save):
    points = np.random.default_rng(0).standard_normal((2, 300, 2)).astype(np.float32)
    real, fake = (save(f"{i}.npz", p, "points") for i, p in enumerate(points))
    row = score(real, fake, metrics=["fid", "energy"])
    assert 0 < row["frechet_distance"] < 0.1
    with pytest.raises(ConfigError, match="mifid: defined for images only"):
        score(real, fake, metrics=["mifid"])
    with pytest.raises(ConfigError, match="cannot be compared"):
        score(real, save("pictures", images_of(20, 3)), metrics=["fid"])


def test_grey_sets_have_one_channel_and_mixed_ones_three(save):
    grey, colour = images_of(20, 1), images_of(20, 3)
    pair = save("grey", grey), save("grey.npz", np.repeat(grey, 3, axis=-1))
    loaded = evaluate._alike("pixels", *map(unresized.load, pair))
    assert [s.space.shape for s in loaded] == [(4, 4, 1)] * 2
    np.testing.assert_array_equal(loaded[0].images, loaded[1].images)
    pair = unresized.load(pair[0]), unresized.load(save("colour", colour))
    assert [s.space.shape for s in evaluate._alike("pixels", *pair)] == [(4, 4, 3)] * 2


@pytest.fixture
def encoder(monkeypatch):
    """encoder(channels): encoder:made takes images of so many channels."""

    def make(channels):
        def function(name, space, mode):
            assert space.channels == channels
            pixels = feature_function("pixels", space, mode)
            return FeatureFunction("encoder:made", pixels.dimension, pixels.apply, "made")

        monkeypatch.setattr(frozen, "channels_of", lambda name: channels)
        monkeypatch.setattr(evaluate, "feature_function", function)

    return make


def test_an_encoder_gets_the_channels_that_it_was_trained_on(save, encoder):
    real, fake = save("real", images_of(20, 1)), save("fake", images_of(20, 1, seed=1))
    encoder(1)
    grey = score(real, fake, features="encoder:made", metrics=["fid"])
    encoder(3)
    colour = score(real, fake, features="encoder:made", metrics=["fid"])
    assert colour["frechet_distance"] == pytest.approx(3 * grey["frechet_distance"], rel=1e-4)
    encoder(1)
    with pytest.raises(DataError, match="colour has images in colour, and the encoder was trained"):
        score(real, save("colour", images_of(20, 3)), features="encoder:made")


def test_the_channels_of_an_encoder(monkeypatch):
    assert frozen.channels_of("torch:resnet18:file.pth") == 3
    with pytest.raises(ConfigError, match="no encoder at nowhere"):
        frozen.channels_of("nowhere")


def test_black_images_have_no_mifid_and_keep_the_rest(save, caplog):
    black = save("black", np.zeros((20, 4, 4, 3), np.uint8))
    row = score(save("real", images_of(20, 3)), black, metrics=["fid", "mifid"])
    assert row["frechet_distance"] > 0
    assert row["mifid"] is None and row["memorization_distance"] is None
    assert "mifid is left empty: all features of the samples are zero" in caplog.text


@pytest.mark.parametrize(
    ("count", "metric", "message"),
    [(1, "fid", "needs at least 2 samples, got 1"), (2, "prdc", "needs at least 4 samples, got 2"),
     (9, "is", "needs at least 10 samples, got 9")],
)  # fmt: skip
@pytest.mark.parametrize("form", ["fake", "fake.npz"])
def test_too_few_samples_are_refused(save, form, count, metric, message):
    with pytest.raises(ConfigError, match=f"--metrics {metric} {message}"):
        score(save("real", images_of(20, 3)), save(form, images_of(count, 3)), metrics=[metric])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": np.zeros((9, 3, 8, 8), np.uint8)}, r"\(9, 3, 8, 8\).* channels come last"),
        ({"images": np.zeros((9, 4, 4, 3), np.float32)}, "images are float32"),
        ({"images": np.zeros((0, 4, 4, 3), np.uint8)}, "there is no image in them"),
        ({"x": np.zeros(3)}, r"holds no array 'images' .* but \['x'\]"),
        ({"points": np.zeros((5, 2, 2))}, r"points are float64 \(5, 2, 2\), expected float32"),
        ({"points": np.full((5, 2), np.nan)}, "some points are NaN or infinite"),
    ],
)  # fmt: skip
def test_npz_files_of_another_form(tmp_path, save, arrays, message):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(DataError, match=rf"x\.npz.*{message}"):
        score(save("real", images_of(20, 3)), tmp_path / "x.npz")


def test_an_npz_file_that_is_none(tmp_path, save):
    real = save("real", images_of(20, 3))
    (tmp_path / "text.npz").write_text("not an archive")
    with pytest.raises(DataError, match=r"text\.npz cannot be read as an npz file"):
        score(real, tmp_path / "text.npz")
    with pytest.raises(DataError, match=r"no file .*nowhere\.npz"):
        score(real, tmp_path / "nowhere.npz")


def test_statistics_stand_in_for_the_moments_of_real_images(tmp_path, save):
    real, fake = save("real", images_of(20, 1)), save("fake", images_of(20, 1, seed=1))
    np.savez(tmp_path / "s.npz", mu=np.zeros(16), sigma=np.zeros((16, 16)))
    row = score(real, fake, metrics=["fid"], statistics=str(tmp_path / "s.npz"))
    vectors = unresized.load(fake).images[..., :1].reshape(20, -1) / 255
    expected = np.sum(vectors.mean(0) ** 2) + np.trace(np.cov(vectors, rowvar=False))
    assert row["frechet_distance"] == pytest.approx(expected, rel=1e-5)
    assert row["statistics"] == str(tmp_path / "s.npz")


def test_flags_of_runs_alone_are_refused():
    def run(*flags):
        command = [sys.executable, ROOT / "evaluate.py", "--real", "a", "--fake", "b", *flags]
        return subprocess.run(command, capture_output=True, text=True)

    done = run("--split=test", "--noema")
    assert done.returncode == 2
    assert done.stderr == (
        "error: --split, --noema: of --workdir only, not of --real and --fake\n"
    ), json.dumps(done.stderr)
