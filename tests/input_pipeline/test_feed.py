"""The data that a training loop gets, from a decoded and from a streamed set."""

import jax
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from input_pipeline import streaming
from input_pipeline.image_set import DataSet
from input_pipeline.sources import load, open_stream
from input_pipeline.space import Pixels

COUNT, ROWS = 11, 4
GIVEN = dict(image_size=4, channels=3)


@pytest.fixture
def source(tmp_path):
    """11 images whose pixels and labels are their row number."""
    images = np.tile(np.arange(COUNT, dtype=np.uint8)[:, None, None, None], (1, 4, 4, 3))
    np.save(tmp_path / "train_images.npy", images)
    np.save(tmp_path / "train_labels.npy", np.arange(COUNT) % 3)
    return f"npy:{tmp_path}"


@pytest.fixture
def placed():
    """The shardings of whole arrays and of batches, over four devices."""
    mesh = Mesh(np.asarray(jax.devices()[:4]), ("data",))
    return NamedSharding(mesh, PartitionSpec()), lambda rows: NamedSharding(
        mesh, PartitionSpec("data" if rows == ROWS else None)
    )


def test_a_decoded_set_is_the_same_data_at_every_step(source, placed):
    feed = load(source, **GIVEN).feed(*placed, ROWS, 5, 9)
    assert feed.whole and feed.next() is feed.next() is feed.data
    assert feed.data.num_rows == COUNT and feed.data.images.sharding == placed[0]


@pytest.mark.parametrize("first", [0, 3])
def test_a_stream_feeds_the_batch_of_each_step(source, placed, first):
    stream = open_stream(source, **GIVEN, threads=2, seed=7)
    feed = stream.feed(*placed, ROWS, first, 9)
    batches = list(stream.batches(ROWS, 0, 9))
    assert not feed.whole
    jax.tree.map(np.testing.assert_array_equal, feed.data, batches[0])
    for expected in batches[first:]:
        batch = feed.next()
        assert batch.images.sharding == placed[1](ROWS) and batch.space == stream.space
        jax.tree.map(np.testing.assert_array_equal, batch, expected)
    with pytest.raises(StopIteration):
        feed.next()


def test_both_kinds_of_sets_have_the_same_calls(source, monkeypatch):
    loaded, stream = load(source, **GIVEN), open_stream(source, **GIVEN)
    for data in (loaded, stream):
        assert isinstance(data, DataSet)
        assert len(data) == COUNT and data.num_classes == 3 and data.space == Pixels((4, 4, 3))
        assert (data.source, data.split) == (source, "train")
        assert len(data.fingerprint) == 64
        assert data.class_names == ("0", "1", "2")
    assert (loaded.streamed, stream.streamed) == (False, True)
    assert (loaded.class_counts, stream.class_counts) == ((4, 4, 3), None)
    assert loaded.representative() is loaded
    np.testing.assert_array_equal(stream.representative().images, loaded.images)
    monkeypatch.setattr(streaming, "SPREAD", 5)
    found = stream.representative()
    np.testing.assert_array_equal(found.images, loaded.images[[0, 2, 5, 7, 10]])
    assert found.labels.tolist() == [0, 2, 2, 1, 1] and found.space == stream.space
