"""Streams: every record once an epoch, resumable, shared by processes; and what is refused."""

import itertools
import os

import numpy as np
import pytest
from PIL import Image

from input_pipeline import latents
from input_pipeline.sources import DataError, load, open_stream

COUNT = 11


@pytest.fixture
def npy(tmp_path):
    """11 images whose pixels and labels are their row."""
    images = np.tile(np.arange(COUNT, dtype=np.uint8)[:, None, None, None], (1, 4, 4, 3))
    np.save(tmp_path / "train_images.npy", images)
    np.save(tmp_path / "train_labels.npy", np.arange(COUNT))
    return tmp_path


def opened(npy, **options):
    return open_stream(f"npy:{npy}", image_size=4, channels=3, threads=2, **options)


def rows_of(batches):
    """[steps, B]; each image is that of its label."""
    found = []
    for batch in batches:
        assert batch.images.dtype == np.uint8 and batch.labels.dtype == np.int32
        np.testing.assert_array_equal(batch.images[:, 0, 0, 0], batch.labels)
        found.append(batch.labels)
    return np.stack(found)


@pytest.mark.parametrize("size", [3, 4, 25])
def test_every_epoch_holds_every_record_once_in_an_order_of_its_own(npy, size):
    stream = opened(npy)
    steps = -(-5 * COUNT // size)
    rows = rows_of(stream.batches(size, 0, steps)).ravel()[: 5 * COUNT]
    epochs = rows.reshape(5, COUNT)
    np.testing.assert_array_equal(np.sort(epochs, axis=1), np.tile(np.arange(COUNT), (5, 1)))
    assert len({tuple(epoch) for epoch in epochs.tolist()}) == 5


def test_orders_differ_by_seed_and_no_seed_is_another_one_later(npy):
    first = [
        {tuple(e) for e in rows_of(opened(npy, seed=s).batches(COUNT, 0, 4)).tolist()}
        for s in (0, 1, 2, -1, 2**63)
    ]
    assert all(a.isdisjoint(b) for a, b in itertools.combinations(first, 2))


def test_a_stream_that_is_opened_at_a_step_goes_on_there(npy):
    whole = rows_of(opened(npy).batches(4, 0, 12))
    assert whole.shape == (12, 4)  # it ends where it is told to
    for step in (1, 5, 11):
        np.testing.assert_array_equal(rows_of(opened(npy).batches(4, step, 12)), whole[step:])


@pytest.mark.parametrize("first", [0, 3])
def test_shares_of_processes_make_up_the_batch_of_one(npy, first):
    whole = rows_of(opened(npy).batches(6, first, 9))
    for processes in (2, 3):
        shares = [
            rows_of(opened(npy).batches(6, first, 9, process, processes))
            for process in range(processes)
        ]
        np.testing.assert_array_equal(np.concatenate(shares, axis=1), whole)


def test_the_head_is_in_stored_order(npy):
    head = opened(npy).head(5)
    assert head.labels.tolist() == [0, 1, 2, 3, 4] and head.num_classes == COUNT
    assert len(opened(npy).head(100)) == COUNT


def test_streamed_images_are_those_that_are_loaded(tmp_path):
    rng = np.random.default_rng(0)
    for label, sizes in {"cat": [(20, 30), (8, 8)], "dog": [(9, 9)] * 3}.items():
        (tmp_path / "set" / label).mkdir(parents=True)
        for i, size in enumerate(sizes):
            pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "set" / label / f"{i}.png")
    given = dict(source=f"folder:{tmp_path / 'set'}", image_size=8, channels=3)
    loaded, stream = load(**given), open_stream(**given)
    head = stream.head(5)
    np.testing.assert_array_equal(head.images, loaded.images)
    np.testing.assert_array_equal(head.labels, loaded.labels)
    assert (stream.fingerprint, stream.class_names) == (loaded.fingerprint, ("cat", "dog"))
    (tmp_path / "set" / "dog" / "1.png").write_bytes(b"\x89PNG not really")
    with pytest.raises(DataError, match="cannot read image .*dog/1.png.* Remove it"):
        list(open_stream(**given).batches(5, 0, 1))  # met by a reader thread, raised here


def test_tfds_record_by_record(tfds_data_dir, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tfds_data_dir))
    stream = open_stream("tfds:cifar10", "test", image_size=32, channels=3)
    assert len(stream) == 10_000 and stream.class_names[0] == "airplane"
    (batch,) = stream.batches(64, 70, 71)
    assert batch.images.shape == (64, 32, 32, 3) and len(set(batch.labels.tolist())) > 5


# --- latents -------------------------------------------------------------------------------------


def save(folder, kind, values, labels=None):
    np.save(folder / f"train_{kind}.npy", values)
    np.save(folder / "train_labels.npy", np.arange(len(values)) if labels is None else labels)
    return f"latents:{folder}"


def streamed(source, **options):
    return open_stream(source, image_size=2, channels=3, threads=2, **options)


def test_latents_are_taken_as_they_are(tmp_path):
    values = np.random.default_rng(0).standard_normal((4, 2, 2, 3)).astype(np.float16)
    source = save(tmp_path, "latents", values)
    head, loaded = streamed(source).head(4), load(source, image_size=2, channels=3)
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


def test_a_draw_depends_on_seed_and_position_alone(tmp_path):
    source = save(tmp_path, "moments", np.zeros((3, 2, 2, 6), np.float32))

    def drawn(size, first, stop, **options):
        batches = streamed(source, **options).batches(size, first, stop)
        return np.concatenate([batch.images for batch in batches])

    whole = drawn(2, 0, 9)
    np.testing.assert_array_equal(drawn(6, 1, 3), whole[6:])
    assert len(np.unique(whole)) == whole.size  # every visit of a record is a draw of its own
    assert np.intersect1d(drawn(2, 0, 9, seed=1), whole).size == 0


def test_an_encoder_that_is_sure_draws_its_mean():
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
        ("latents", np.zeros((2, 2, 2, 3), np.float32), "2 records but 3 labels"),
        ("latents", np.asarray([{}] * 3, object), "cannot be read as an npy file"),
    ],
)
def test_unusable_latents(tmp_path, kind, values, message):
    source = save(tmp_path, kind, values, labels=np.arange(3))
    with pytest.raises(DataError, match=message):
        streamed(source)


def test_missing_or_doubtful_latents(tmp_path):
    with pytest.raises(DataError, match="no file .*train_latents.npy; .*_moments.npy"):
        streamed(f"latents:{tmp_path}")
    source = save(tmp_path, "latents", np.zeros((3, 2, 2, 3), np.float32))
    os.remove(tmp_path / "train_labels.npy")
    with pytest.raises(DataError, match="no file .*train_labels.npy"):
        streamed(source)
    save(tmp_path, "moments", np.zeros((3, 2, 2, 6), np.float32), labels=[0, -1, 2])
    with pytest.raises(DataError, match="are both there; keep the one"):
        streamed(source)
    os.remove(tmp_path / "train_latents.npy")
    with pytest.raises(DataError, match="labels must be at least 0"):
        streamed(source)
    save(tmp_path, "moments", np.zeros((3, 2, 2, 6), np.float32))
    with pytest.raises(DataError, match="anew at each visit.*streaming=True"):
        load(source, image_size=2, channels=3)


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


# --- what is refused -----------------------------------------------------------------------------


def test_a_record_that_is_not_as_announced_is_named(npy):
    stream = opened(npy)
    whole = stream.records.read

    def broken(row):
        values, label = whole(row)
        return (values[:2], label) if row == 7 else (values, 20 if row == 9 else label)

    object.__setattr__(stream.records, "read", broken)
    with pytest.raises(DataError, match=r"row 7: the record is uint8 \(2, 4, 3\), expected uint8"):
        stream.head(8)
    object.__setattr__(stream.records, "read", lambda row: (whole(0)[0], broken(row)[1]))
    with pytest.raises(DataError, match=r"npy:.* train, row 9: label 20 is not in 0 to 10"):
        stream.head(COUNT)


@pytest.mark.parametrize(
    "options,message",
    [
        (dict(source="digits"), "digits cannot be streamed; folder:<path>, .*streaming=False"),
        (dict(source="digit"), "did you mean 'digits'"),
        (dict(source="digits", threads=0), "read_threads = 0 is less than one"),
        (dict(source="digits", on_corrupt="skip"), "cannot be streamed: every position"),
    ],
)
def test_what_cannot_be_streamed(options, message):
    with pytest.raises(DataError, match=message):
        open_stream(image_size=8, channels=1, **options)
