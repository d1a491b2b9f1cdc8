"""Encoded latents on disk: what is written is read, and only that."""

import dataclasses
import json

import numpy as np
import pytest

from input_pipeline import latent_sets, splits
from input_pipeline.latent_sets import LatentSet, LatentSplit
from input_pipeline.sources import DataError, load, open_stream

NAMES = ("cat", "dog", "eel")


def make_set(**changes):
    splits = {
        "train": LatentSplit(23, "a" * 64, NAMES),
        "test": LatentSplit(5, "b" * 64, NAMES[:2]),
    }
    values = {
        "autoencoder": "runs/vae", "autoencoder_identity": "abc:float32:7", "source": "digits",
        "image_size": 4, "channels": 1, "fit": "resize", "on_corrupt": "error",
        "latent_shape": (2, 2, 3), "mirrored": True, "batch_size": 4, "shard_rows": 10,
        "splits": splits,
    }  # fmt: skip
    return LatentSet(**(values | changes))


SET = make_set()


def moments_of(split, rows=23):
    """float32 [rows, 2, 2, 2, 6], with means far from 0 and small variances."""
    made = np.random.default_rng(len(split)).standard_normal((rows, 2, 2, 2, 6))
    made[..., :3] = made[..., :3] * [1.0, 2.0, 0.1] + [5.0, -1000.0, 0.0]
    made[..., 3:] -= 2.0
    return made.astype(np.float32)


def encode(split, first, stop):
    """Label 2 for every third row of the training split, else 0 or 1."""
    for row in range(first, stop):
        yield moments_of(split)[row], row % 3 if split == "train" else row % 2


def write(folder, latent_set=SET, encode=encode, shards=None):
    for split, number in latent_sets.claim(folder, latent_set)[:shards]:
        latent_sets.write_shard(folder, latent_set, split, number, encode)
    return latent_sets.finish(folder, latent_set) if shards is None else None


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("latents")
    write(folder)
    return folder


def test_what_is_read_is_what_was_written(written):
    names = [f"train-0000{k}-of-00003.array_record" for k in range(3)]
    names += ["test-00000-of-00001.array_record", "encoding.json", "latents.json"]
    assert sorted(contents(written)) == sorted(names)
    described = latent_sets.describe(written)
    assert described.binding == SET.binding
    reader = latent_sets.Reader(written, described, "train")
    moments, labels = zip(*(reader[row] for row in range(len(reader))), strict=True)
    np.testing.assert_array_equal(np.stack(moments), moments_of("train"))
    assert list(labels) == [row % 3 for row in range(23)]
    assert described.splits["test"].class_names == ("cat", "dog")


def test_statistics_are_those_of_the_drawn_latents(written):
    described = latent_sets.describe(written)
    for name, split in described.splits.items():
        rows = moments_of(name)[: split.count].astype(np.float64).reshape(-1, 6)
        mean, variance = rows[:, :3].mean(axis=0), np.exp(rows[:, 3:]).mean(axis=0)
        np.testing.assert_allclose(split.mean, mean, rtol=1e-12)
        np.testing.assert_allclose(
            split.std, np.sqrt(rows[:, :3].var(axis=0) + variance), rtol=1e-12
        )
    latents = moments_of("train")[..., :3]
    train = described.splits["train"]
    standardised = described.normalise(latents)
    np.testing.assert_allclose(
        standardised, (latents - np.asarray(train.mean)) / np.asarray(train.std), atol=1e-3
    )
    assert standardised.dtype == np.float32


def test_a_run_that_goes_on_writes_the_same_bytes(written, tmp_path):
    def fails(split, first, stop):
        yield from encode(split, first, stop - 1)
        raise KeyboardInterrupt

    write(tmp_path, shards=2)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, encode=fails)
    assert not (tmp_path / "train-00002-of-00003.array_record").exists()
    done = (tmp_path / "train-00000-of-00003.array_record").stat()
    write(tmp_path)
    assert contents(tmp_path) == contents(written)
    assert (tmp_path / "train-00000-of-00003.array_record").stat() == done  # not written again


def test_data_and_autoencoder_may_lie_elsewhere(written, tmp_path):
    write(tmp_path, shards=1)
    write(tmp_path, make_set(autoencoder="elsewhere", source="npz:moved"))
    shards = [name for name in contents(written) if name.endswith("array_record")]
    assert all(contents(tmp_path)[name] == contents(written)[name] for name in shards)
    assert latent_sets.describe(tmp_path).source == "npz:moved"


SPLITS = r"other images, labels or splits \(in this order\)"


@pytest.mark.parametrize(
    ("message", "changed"),
    [
        ("autoencoder_identity = abc:float32:7, not new", {"autoencoder_identity": "new"}),
        (SPLITS, {"splits": {"train": SET.splits["train"]}}),
        (SPLITS, {"splits": dict(reversed(SET.splits.items()))}),
        ("mirrored = True, not False", {"mirrored": False}),
        ("batch_size = 4, not 8", {"batch_size": 8}),
        ("shard_rows = 10, not 5", {"shard_rows": 5}),
        ("fit = resize, not pad", {"fit": "pad"}),
    ],
)
def test_a_folder_of_another_encoding_is_refused(tmp_path, message, changed):
    write(tmp_path, shards=1)
    before = contents(tmp_path)
    with pytest.raises(DataError, match=f"holds latents with {message}: choose another --out"):
        write(tmp_path, make_set(**changed))
    assert contents(tmp_path) == before


def test_other_images_are_refused(tmp_path):
    write(tmp_path, shards=1)
    splits = SET.splits | {"test": dataclasses.replace(SET.splits["test"], fingerprint="c" * 64)}
    with pytest.raises(DataError, match="other images, labels or splits"):
        write(tmp_path, make_set(splits=splits))


def test_a_shard_of_another_encoding_is_refused_in_writing_and_in_reading(written, tmp_path):
    other = make_set(autoencoder_identity="other")
    write(tmp_path, other)
    name = "train-00001-of-00003.array_record"
    (tmp_path / name).write_bytes((written / name).read_bytes())
    message = f"{name} is a shard of another encoding than"
    with pytest.raises(DataError, match=message):
        latent_sets.claim(tmp_path, other)
    reader = latent_sets.Reader(tmp_path, latent_sets.describe(tmp_path), "train")
    reader[9], reader[20]
    with pytest.raises(DataError, match=message):
        reader[10]
    with pytest.raises(DataError, match=message):
        load(f"latents:{tmp_path}", image_size=2, channels=3)


def test_damaged_shards_are_named(tmp_path):
    write(tmp_path)
    path = tmp_path / "train-00001-of-00003.array_record"
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[flipped.index(moments_of("train")[12].tobytes())] ^= 1
    path.write_bytes(flipped)
    reader = latent_sets.Reader(tmp_path, SET, "train")
    with pytest.raises(DataError, match=f"{path.name} is damaged: .*Remove it and run"):
        reader[12]
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=f"{path.name} is damaged"):
        latent_sets.Reader(tmp_path, SET, "train")
    path.unlink()
    with pytest.raises(DataError, match=f"{path.name} is missing"):
        open_stream(f"latents:{tmp_path}", image_size=2, channels=3)
    write(tmp_path)
    assert path.read_bytes() == whole


def test_an_unfinished_or_damaged_folder(tmp_path):
    write(tmp_path, shards=4)
    with pytest.raises(DataError, match="has no latents.json: run .*goes on where it stopped"):
        load(f"latents:{tmp_path}", image_size=2, channels=3)
    write(tmp_path)
    values = json.loads((tmp_path / "latents.json").read_bytes())
    for broken in (values | {"version": 2}, values | {"other": 1}, values | {"splits": 3}):
        (tmp_path / "latents.json").write_text(json.dumps(broken))
        with pytest.raises(DataError, match="latents.json (is damaged|has format 2)"):
            latent_sets.describe(tmp_path)


# --- mirror images -------------------------------------------------------------------------------


def means_of(described, copy):
    """Standardised means of the training images (copy 0) or of their mirror images (1)."""
    return described.normalise(moments_of("train")[:, copy, ..., :3])


def test_half_of_the_visits_of_a_stream_are_of_mirror_images(written):
    described = latent_sets.describe(written)
    given = {"image_size": 2, "channels": 3, "threads": 1}
    means = np.stack([means_of(described, copy) for copy in (0, 1)])  # [2, N, 2, 2, 3]
    for flip, share in ((False, 0.0), (True, 0.5)):
        stream = open_stream(f"latents:{written}", flip=flip, **given)
        (batch,) = stream.batches(23 * 20, 0, 1)
        rows = np.concatenate([stream._order(epoch) for epoch in range(20)])
        distance = np.abs(batch.images - means[:, rows]).sum(axis=(2, 3, 4))  # [2, 460]
        mirrored = np.argmin(distance, axis=0)
        assert abs(mirrored.mean() - share) < 0.12  # five standard errors


def test_a_resident_set_has_the_means_of_both(written):
    described = latent_sets.describe(written)
    given = {"image_size": 2, "channels": 3}
    plain = load(f"latents:{written}", **given)
    both = load(f"latents:{written}", flip=True, **given)
    np.testing.assert_array_equal(plain.images, means_of(described, 0))
    np.testing.assert_array_equal(both.images, plain.images)
    np.testing.assert_array_equal(both.mirrored, means_of(described, 1))
    assert plain.mirrored is None and both.fingerprint == plain.fingerprint
    fit, val = splits.make(both, 5).apply(both)
    for part in (fit, val, splits.limit(both, 6)):
        rows = [np.flatnonzero((plain.images == x).all(axis=(1, 2, 3)))[0] for x in part.images]
        np.testing.assert_array_equal(part.mirrored, means_of(described, 1)[rows])


def test_mirror_images_that_were_not_encoded_are_refused(tmp_path):
    def single(split, first, stop):
        return ((moments[:1], label) for moments, label in encode(split, first, stop))

    write(tmp_path, make_set(mirrored=False), single)
    given = {"source": f"latents:{tmp_path}", "image_size": 2, "channels": 3}
    assert len(load(**given)) == 23
    for read in (load, open_stream):
        with pytest.raises(DataError, match="config.data.flip=True, but .* encode with .* --flip"):
            read(**given, flip=True)


def test_a_scale_of_ones_own_is_refused(written):
    given = {"image_size": 2, "channels": 3, "latent_scale": 0.5}
    for read in (load, open_stream):
        with pytest.raises(DataError, match="latent_scale = 0.5, but .* leave it at 0.18215"):
            read(f"latents:{written}", **given)


@pytest.mark.parametrize("bad", [np.zeros((2, 2, 2, 5)), np.full((2, 2, 2, 6), np.nan)])
def test_moments_that_cannot_be_used_are_not_written(tmp_path, bad):
    def encode(split, first, stop):
        yield bad.astype(np.float32), 0

    with pytest.raises(DataError, match="digits train, row 0: runs/vae gives moments"):
        write(tmp_path, encode=encode)
    assert sorted(contents(tmp_path)) == ["encoding.json"]
