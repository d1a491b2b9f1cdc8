"""Streams: every record once per epoch, resumable, shared by processes; and refused input."""

import itertools

import numpy as np
import pytest

from input_pipeline.sources import DataError, load, open_stream

COUNT = 11


@pytest.fixture
def npy(tmp_path):
    """11 images whose pixels and labels are their row number."""
    images = np.tile(np.arange(COUNT, dtype=np.uint8)[:, None, None, None], (1, 4, 4, 3))
    np.save(tmp_path / "train_images.npy", images)
    np.save(tmp_path / "train_labels.npy", np.arange(COUNT))
    return tmp_path


def opened(npy, **options):
    return open_stream(f"npy:{npy}", image_size=4, channels=3, threads=2, **options)


def rows_of(batches):
    """Row numbers [steps, B]; each image must match its label."""
    found = []
    for batch in batches:
        assert batch.images.dtype == np.uint8 and batch.labels.dtype == np.int32
        np.testing.assert_array_equal(batch.images[:, 0, 0, 0], batch.labels)
        found.append(batch.labels)
    return np.stack(found)


@pytest.mark.parametrize("size", [3, 4, 25])
def test_every_epoch_has_every_record_once_in_its_own_order(npy, size):
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


def test_a_stream_opened_at_a_step_continues_there(npy):
    whole = rows_of(opened(npy).batches(4, 0, 12))
    assert whole.shape == (12, 4)  # it ends at `stop`
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


def test_what_represents_a_stream_is_spread_over_it(npy):
    found = opened(npy).spread(5)
    assert found.labels.tolist() == [0, 2, 5, 7, 10] and found.num_classes == COUNT
    assert opened(npy).spread(100).labels.tolist() == list(range(COUNT))


def test_streamed_images_equal_loaded_ones(folder):
    given = dict(source=f"folder:{folder}", image_size=8, channels=3)
    loaded, stream = load(**given), open_stream(**given)
    found = stream.spread(5)
    np.testing.assert_array_equal(found.images, loaded.images)
    np.testing.assert_array_equal(found.labels, loaded.labels)
    assert stream.class_names == loaded.class_names == ("cat", "dog")
    (folder / "dog" / "1.png").write_bytes(b"\x89PNG not really")
    with pytest.raises(DataError, match="cannot read image .*dog/1.png.* repair or remove it"):
        list(open_stream(**given).batches(5, 0, 1))  # found by a reader thread, raised here


# --- refused input -------------------------------------------------------------------------------


def test_a_record_of_another_shape_or_label_is_named(npy):
    stream = opened(npy)
    whole = stream.records.read

    def broken(row):
        values, label = whole(row)
        return (values[:2], label) if row == 7 else (values, 20 if row == 9 else label)

    object.__setattr__(stream.records, "read", broken)
    with pytest.raises(DataError, match=r"row 7: the record is uint8 \(2, 4, 3\), expected uint8"):
        stream.spread(8)
    object.__setattr__(stream.records, "read", lambda row: (whole(0)[0], broken(row)[1]))
    with pytest.raises(DataError, match=r"npy:.* train, row 9: label 20 is not in 0 to 10"):
        stream.spread(COUNT)


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
