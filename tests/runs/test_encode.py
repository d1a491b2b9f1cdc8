"""Images encoded by a trained autoencoder, whose latents of each image are known."""

import logging
import pathlib
import re
import subprocess
import sys

import exact_latents
import numpy as np
import pytest

import drifting
from drifting.core.errors import ConfigError
from drifting.runs import build, frozen
from drifting.runs.encode import encode
from drifting.runs.folder import WorkdirError, owned
from input_pipeline import latent_sets
from input_pipeline.decoding import DataError
from input_pipeline.sources import load, open_stream
from input_pipeline.streaming import Stream

TESTS = pathlib.Path(__file__).resolve().parent.parent
SMALL = {"batch_size": 64, "shard_rows": 400}


@pytest.fixture(scope="module")
def autoencoder(tmp_path_factory):
    """The workdir of an autoencoder of the digits."""
    with pytest.MonkeyPatch.context() as patch:
        exact_latents.register(patch)
        workdir = tmp_path_factory.mktemp("runs") / "linear"
        drifting.train(exact_latents.config("linear"), workdir)
        yield workdir


@pytest.fixture(scope="module")
def encoded(autoencoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoded") / "latents"
    encode(autoencoder, folder, flip=True, **SMALL)
    return folder


def means_of(autoencoder, images):
    """The latents of uint8 images."""
    parameters = frozen.load_autoencoder(str(autoencoder)).parameters
    blocks = exact_latents.blocks_of(exact_latents.digit_pictures(images))
    return blocks * np.asarray(parameters["gain"]) + np.asarray(parameters["offset"])


def test_moments_are_those_of_each_image_and_its_mirror_image(autoencoder, encoded):
    described = latent_sets.describe(encoded)
    assert described.autoencoder == str(autoencoder) and described.source == "digits"
    assert described.latent_shape == (4, 4, 4) and described.mirrored
    for split in ("train", "test"):
        images = load("digits", split, image_size=8, channels=1)
        assert described.splits[split].class_names == images.class_names
        reader = latent_sets.Reader(encoded, described, split)
        moments, labels = zip(*(reader[row] for row in range(len(reader))), strict=True)
        moments = np.stack(moments)
        assert list(labels) == images.labels.tolist()
        for copy, pictures in enumerate((images.images, images.images[:, :, ::-1])):
            expected = means_of(autoencoder, pictures)
            np.testing.assert_allclose(moments[:, copy, ..., :4], expected, rtol=1e-6, atol=1e-6)
        assert (moments[..., 4:] == -30.0).all()


def test_a_killed_encoding_goes_on_to_the_same_bytes(autoencoder, encoded, tmp_path):
    folder = tmp_path / "latents"
    program = f"""
import os, signal, sys
sys.path.insert(0, {str(TESTS)!r})
import exact_latents
from drifting import methods
from drifting.runs.encode import encode
from input_pipeline import latent_sets

methods.METHODS["linear"] = "exact_latents:LinearAutoencoder"
write = latent_sets.write_shard

def killed(folder, latent_set, split, number, rows):
    def half(split, first, stop):
        for row, record in enumerate(rows(split, first, stop), first):
            if (number, row - first) == (2, 100):
                os.kill(os.getpid(), signal.SIGKILL)
            yield record
    write(folder, latent_set, split, number, half)

latent_sets.write_shard = killed
encode({str(autoencoder)!r}, {str(folder)!r}, flip=True, batch_size=64, shard_rows=400)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=120)
    assert done.returncode == -9, done.stderr
    names = {path.name for path in folder.glob("*.array_record")}
    assert names == {f"train-0000{k}-of-00004.array_record" for k in range(2)}
    with pytest.raises(DataError, match="has no latents.json"):
        latent_sets.describe(folder)
    encode(autoencoder, folder, flip=True, **SMALL)
    written = {path.name: path.read_bytes() for path in encoded.iterdir()}
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert found.pop(".lock") and written.pop(".lock")
    assert found == written


def test_speed_is_reported_and_finished_work_is_not_repeated(autoencoder, tmp_path, caplog):
    caplog.set_level(logging.INFO, "drifting")
    given = {"splits": ["test"], **SMALL}
    encode(autoencoder, tmp_path / "latents", **given)
    assert re.search(r"300 of 300 images encoded now, [1-9]\d* images/s", caplog.text)
    encode(autoencoder, tmp_path / "latents", **given)
    assert "all 300 images were encoded already" in caplog.text


def test_another_source_or_autoencoder_is_refused(autoencoder, encoded, tmp_path):
    np.savez(tmp_path / "digits.npz", images=np.zeros((1497, 8, 8, 1), np.uint8))
    with pytest.raises(DataError, match="other images, labels or splits .*: choose another --out"):
        encode(autoencoder, encoded, source=f"npz:{tmp_path}/digits.npz", splits=["train"],
               flip=True, **SMALL)  # fmt: skip
    drifting.train(exact_latents.config("linear", seed=1), tmp_path / "other")
    with pytest.raises(DataError, match="holds latents with autoencoder_identity = "):
        encode(tmp_path / "other", encoded, flip=True, **SMALL)
    with pytest.raises(ConfigError, match="--splits names no split"):
        encode(autoencoder, encoded, splits=[])
    with pytest.raises(ConfigError, match="holds points .* but .* encodes images"):
        encode(autoencoder, tmp_path / "new", source="toy2d:moons", **SMALL)


def test_a_folder_is_written_by_one_process_at_a_time(autoencoder, tmp_path):
    with (
        owned(tmp_path / "latents"),
        pytest.raises(WorkdirError, match="is encoding to .*another --out"),
    ):
        encode(autoencoder, tmp_path / "latents")


def test_latents_are_standardised_to_train_on(autoencoder, encoded):
    images = load("digits", "train", image_size=8, channels=1)
    latents = means_of(autoencoder, images.images).astype(np.float64)
    mirrored = means_of(autoencoder, images.images[:, :, ::-1])
    both = np.stack([latents, mirrored]).reshape(-1, 4)
    expected = (latents - both.mean(axis=0)) / both.std(axis=0)
    found = load(f"latents:{encoded}", image_size=4, channels=4)
    assert found.class_names == images.class_names
    np.testing.assert_array_equal(found.labels, images.labels)
    np.testing.assert_allclose(found.images, expected, atol=1e-4)
    stream = open_stream(f"latents:{encoded}", image_size=4, channels=4, threads=2)
    np.testing.assert_allclose(stream.spread(1497).images, expected, atol=1e-4)


def test_images_of_a_stream_are_those_that_samples_are_scored_against(
    autoencoder, tmp_path, caplog, monkeypatch
):
    asked, read = [], Stream.rows
    monkeypatch.setattr(Stream, "rows", lambda *given: asked.append(given[1:]) or read(*given))
    images = load("digits", "train", image_size=8, channels=1)
    np.save(tmp_path / "train_images.npy", images.images)
    np.save(tmp_path / "train_labels.npy", images.labels)
    encode(autoencoder, tmp_path / "latents", source=f"npy:{tmp_path}", splits=["train"], **SMALL)
    assert asked[0] == (0, 64) and max(stop - first for first, stop in asked) == 64
    reader = latent_sets.Reader(
        tmp_path / "latents", latent_sets.describe(tmp_path / "latents"), "train"
    )
    means = np.stack([reader[row][0][0, ..., :4] for row in range(len(reader))])
    np.testing.assert_allclose(means, means_of(autoencoder, images.images), rtol=1e-6, atol=1e-6)
    config = exact_latents.config("known", **{"data.source": f"latents:{tmp_path / 'latents'}"})
    real = build.load_real_images(config)
    np.testing.assert_array_equal(real.images, images.images)
    assert not caplog.records
    config.update_from_flattened_dict({"data.limit": 100, "data.image_size": 4, "data.channels": 4})
    latents, real = build.load_images(config), build.load_real_images(config)
    expected = latent_sets.describe(tmp_path / "latents").normalise(
        means_of(autoencoder, real.images)
    )
    np.testing.assert_allclose(latents.images, expected, atol=1e-4)
    np.save(tmp_path / "train_images.npy", 255 - images.images)
    build.load_real_images(config)
    assert "holds other images or labels than were encoded" in caplog.text
