"""Stored latents and latents drawn from moments, streamed and loaded."""

import os

import numpy as np
import pytest

from input_pipeline.sources import DataError, latents, load, open_stream


def save(folder, kind, values, labels=None):
    np.save(folder / f"train_{kind}.npy", values)
    np.save(folder / "train_labels.npy", np.arange(len(values)) if labels is None else labels)
    return f"latents:{folder}"


def streamed(source, **options):
    return open_stream(source, image_size=2, channels=3, threads=2, **options)


def test_stored_latents_are_unchanged(tmp_path):
    values = np.random.default_rng(0).standard_normal((4, 2, 2, 3)).astype(np.float16)
    source = save(tmp_path, "latents", values)
    head, loaded = streamed(source).spread(4), load(source, image_size=2, channels=3)
    assert head.images.dtype == loaded.images.dtype == np.float32
    np.testing.assert_array_equal(head.images, values.astype(np.float32))
    np.testing.assert_array_equal(loaded.images, head.images)
    assert loaded.labels.tolist() == [0, 1, 2, 3]


def test_a_draw_has_the_mean_and_deviation_of_its_moments(tmp_path):
    mean = np.asarray([-1.0, 0.0, 3.0])
    deviation = np.asarray([0.1, 1.0, 2.0])
    moments = np.concatenate([mean, 2 * np.log(deviation)]).astype(np.float32)
    source = save(tmp_path, "moments", np.tile(moments, (5, 2, 2, 1)))
    stream = streamed(source, latent_scale=0.5)
    drawn = np.concatenate([b.images for b in stream.batches(500, 0, 4)]).reshape(-1, 3)
    n = len(drawn)  # 8,000; bounds of five standard errors
    np.testing.assert_array_less(np.abs(drawn.mean(axis=0) - 0.5 * mean), 2.5 * deviation / n**0.5)
    np.testing.assert_allclose(drawn.std(axis=0), 0.5 * deviation, rtol=5 / (2 * n) ** 0.5)
    residue = (drawn - 0.5 * mean) / deviation
    assert np.abs(np.corrcoef(residue.T) - np.eye(3)).max() < 5 / n**0.5


def test_a_draw_depends_only_on_seed_and_position(tmp_path):
    source = save(tmp_path, "moments", np.zeros((3, 2, 2, 6), np.float32))

    def drawn(size, first, stop, **options):
        batches = streamed(source, **options).batches(size, first, stop)
        return np.concatenate([batch.images for batch in batches])

    whole = drawn(2, 0, 9)
    np.testing.assert_array_equal(drawn(6, 1, 3), whole[6:])
    assert len(np.unique(whole)) == whole.size  # every visit of a record is a new draw
    assert np.intersect1d(drawn(2, 0, 9, seed=1), whole).size == 0


def test_a_posterior_without_variance_draws_its_mean():
    moments = np.concatenate([np.full((1, 1, 2), 3.0), np.full((1, 1, 2), -100.0)], axis=-1)
    drawn = latents.draw_latent(moments.astype(np.float32), np.random.default_rng(0))
    np.testing.assert_allclose(drawn, 3.0, atol=1e-5)


@pytest.mark.parametrize(
    "kind,values,message",
    [
        ("latents", np.zeros((3, 2, 2, 3)), "values are float64 .*expected float16 or float32"),
        ("latents", np.zeros((3, 2, 3), np.float32), r"\[N, H, W, C\]"),
        ("moments", np.zeros((3, 2, 2, 5), np.float32), "5 channels do not divide into means"),
        ("latents", np.zeros((3, 4, 4, 3), np.float32), "image_size=4 and config.data.channels=3"),
        ("moments", np.zeros((3, 2, 2, 8), np.float32), "image_size=2 and config.data.channels=4"),
        ("latents", np.zeros((2, 2, 2, 3), np.float32), "2 samples but 3 labels"),
        ("latents", np.asarray([{}] * 3, object), "values are object"),
    ],
)
def test_unusable_latents(tmp_path, kind, values, message):
    source = save(tmp_path, kind, values, labels=np.arange(3))
    with pytest.raises(DataError, match=message):
        streamed(source)


def test_missing_or_ambiguous_latents(tmp_path):
    with pytest.raises(DataError, match="no file .*train_latents.npy; .*_moments.npy"):
        streamed(f"latents:{tmp_path}")
    source = save(tmp_path, "latents", np.zeros((3, 2, 2, 3), np.float32))
    os.remove(tmp_path / "train_labels.npy")
    with pytest.raises(DataError, match="no file .*train_labels.npy"):
        streamed(source)
    save(tmp_path, "moments", np.zeros((3, 2, 2, 6), np.float32), labels=[0, -1, 2])
    with pytest.raises(DataError, match="both exist; keep only the one"):
        streamed(source)
    os.remove(tmp_path / "train_latents.npy")
    with pytest.raises(DataError, match="labels are -1 to 2, but must be at least 0"):
        streamed(source)
    save(tmp_path, "moments", np.zeros((3, 2, 2, 6), np.float32))
    with pytest.raises(DataError, match="anew at each visit.*streaming=True"):
        load(source, image_size=2, channels=3)


def test_latents_are_not_mirrored(tmp_path):
    source = save(tmp_path, "latents", np.zeros((3, 2, 2, 3), np.float32))
    for read in (load, open_stream):
        with pytest.raises(DataError, match="config.data.flip=True, but .* encode with .* --flip"):
            read(source, image_size=2, channels=3, flip=True)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_value_that_is_not_finite_is_named_when_it_is_read(tmp_path, bad):
    values = np.zeros((9, 2, 2, 6), np.float32)
    values[6, 1, 0, 5] = bad
    stream = streamed(save(tmp_path, "moments", values))
    with pytest.raises(DataError, match="train_moments.npy, row 6: NaN or infinite"):
        list(stream.batches(3, 0, 3))
    source = save(tmp_path / "..", "latents", values[..., 3:])
    with pytest.raises(DataError, match="train_latents.npy, row 6: NaN or infinite"):
        load(source, image_size=2, channels=3)
