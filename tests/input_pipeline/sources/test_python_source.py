"""Samples that a user's function yields: positions, splits, classes, and what is refused."""

import itertools

import numpy as np
import pytest

from input_pipeline.decoding import DataError
from input_pipeline.sources import load, open_rows, open_stream, python
from input_pipeline.space import Arrays, Pixels

COUNTING = """
import numpy as np

CLASS_NAMES = ["even", "odd"]
started = []

def sample(i):
    return {"image": np.full((2, 2, 1), i % 256, np.uint8), "label": i % 2}

def from_start(start=0):
    while True:
        yield sample(start)
        start += 1

def from_zero():
    yield from from_start()

def splits(split, start=0):
    for i in range(start, 5 if split == "test" else 7):
        yield sample(i)

def fails():
    yield sample(0)
    raise OSError("disk 7")
"""
ONE_CLASS = """
import numpy as np

def spectra(start=0):
    while True:
        yield {"image": np.full((2, 2, 5), start, np.float32)}
        start += 1
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(COUNTING)
    return path


def stream(source, size=2, channels=1):
    return open_stream(source, image_size=size, channels=channels)


def positions(batch):
    return batch.images[:, 0, 0, 0].tolist()


@pytest.mark.parametrize("function", ["from_start", "from_zero"])
def test_batch_k_starts_at_position_k_times_the_rows(file, function):
    found = stream(f"python:{file}:{function}")
    assert found.space == Pixels((2, 2, 1)) and found.class_names == ("even", "odd")
    assert (found.num_samples, found.class_counts, found.streamed) == (None, None, True)
    given = list(found.batches(3, 4, 6))
    assert [positions(b) for b in given] == [[12, 13, 14], [15, 16, 17]]
    assert given[0].labels.tolist() == [0, 1, 0] and given[0].labels.dtype == np.int32


def test_processes_share_each_batch(file):
    found = stream(f"python:{file}:from_start")
    shares = [next(found.batches(4, 2, 3, process, 2)) for process in (0, 1)]
    assert [positions(b) for b in shares] == [[8, 9], [10, 11]]


def test_a_function_without_start_says_what_it_drops(file, caplog):
    caplog.set_level("INFO")
    next(stream(f"python:{file}:from_zero").batches(3, 4, 5))
    assert "takes no `start`: 12 samples are read and dropped" in caplog.text
    caplog.clear()
    next(stream(f"python:{file}:from_start").batches(3, 4, 5))
    assert not caplog.text


def test_the_first_samples_represent_all_and_are_the_fingerprint(file, tmp_path):
    found = stream(f"python:{file}:from_start")
    assert positions(found.representative()) == [i % 256 for i in range(2048)]
    same, other = tmp_path / "same.py", tmp_path / "other.py"
    same.write_text(COUNTING)
    other.write_text(COUNTING.replace("i % 256", "(i + 1) % 256"))
    assert found.fingerprint == stream(f"python:{same}:from_start").fingerprint
    assert found.fingerprint != stream(f"python:{other}:from_start").fingerprint


def test_a_function_that_ends_is_loaded_by_split(file):
    source = f"python:{file}:splits"
    assert len(load(source, "train", image_size=2, channels=1)) == 7
    test = load(source, "test", image_size=2, channels=1)
    assert test.images[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]
    assert test.labels.tolist() == [0, 1, 0, 1, 0]


def test_arrays_have_any_number_of_channels(tmp_path):
    path = tmp_path / "spectra.py"
    path.write_text(ONE_CLASS)
    found = stream(f"python_arrays:{path}:spectra", channels=5)
    assert found.space == Arrays((2, 2, 5)) and found.class_names == ("all",)
    batch = next(found.batches(2, 1, 2))
    assert batch.images.shape == (2, 2, 2, 5) and positions(batch) == [2.0, 3.0]
    assert found.space.to_picture(batch.images).shape == (2, 2, 2, 3)


def test_a_stream_that_ends_says_where(file):
    batches = stream(f"python:{file}:splits").batches(3, 1, 4)
    assert positions(next(batches)) == [3, 4, 5]
    with pytest.raises(DataError, match="splits ended after 7 samples, but training goes on"):
        next(batches)


def test_an_endless_function_is_not_loaded(file, monkeypatch):
    monkeypatch.setattr(python, "MOST_BYTES", 40)
    with pytest.raises(DataError, match="goes on after 11 samples.*config.data.streaming=True"):
        load(f"python:{file}:from_start", image_size=2, channels=1)


@pytest.mark.parametrize(
    "rest,message",
    [
        ("nowhere.py:f", "no file 'nowhere.py'; write python:<file>:<function>"),
        ("{file}", "write python:<file>:<function>"),
        ("{file}:from_strat", "defines no function 'from_strat'.*from_start"),
        ("{file}:fails", "fails: OSError: disk 7; correct the function"),
    ],
)
def test_what_cannot_be_called_is_one_line(file, rest, message):
    with pytest.raises(DataError, match=message) as caught:
        list(stream("python:" + rest.format(file=file)).batches(2, 0, 1))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "body,message",
    [
        ("yield 3", "sample 0 is no dict with `image`"),
        (
            "yield {'image': np.zeros((2, 2, 1))}",
            r"float64 \(2, 2, 1\), expected uint8 \(2, 2, 1\)",
        ),
        ("yield {'image': np.zeros((3, 2, 1), np.uint8)}", r"uint8 \(3, 2, 1\), expected"),
        ("yield {'image': np.zeros((2, 2, 1), np.uint8), 'label': 1}", "label 1 is no place"),
    ],
)
def test_what_is_no_sample_is_one_line(tmp_path, body, message):
    path = tmp_path / "bad.py"
    path.write_text(f"import numpy as np\n\ndef f():\n    while True:\n        {body}\n")
    with pytest.raises(DataError, match=message):
        next(stream(f"python:{path}:f").batches(1, 0, 1))


def test_values_that_are_not_finite_are_refused(tmp_path):
    path = tmp_path / "spectra.py"
    path.write_text(ONE_CLASS.replace("start, np.float32", "np.nan, np.float32"))
    with pytest.raises(DataError, match="sample 0 has NaN"):
        next(stream(f"python_arrays:{path}:spectra", channels=5).batches(1, 0, 1))


def test_a_split_needs_a_parameter(file):
    with pytest.raises(DataError, match="takes no `split`"):
        load(f"python:{file}:from_zero", "test", image_size=2, channels=1)


def test_a_file_that_does_not_run_is_named(tmp_path):
    path = tmp_path / "broken.py"
    path.write_text("import nothing_of_this_name\n")
    with pytest.raises(DataError, match="broken.py: ModuleNotFoundError"):
        stream(f"python:{path}:f")


def test_memory_of_the_representative_samples_is_bounded(tmp_path, monkeypatch):
    from input_pipeline import endless

    path = tmp_path / "spectra.py"
    path.write_text(ONE_CLASS)
    monkeypatch.setattr(endless, "FIRST_BYTES", 8 * 2 * 2 * 5 * 4)
    found = stream(f"python_arrays:{path}:spectra", channels=5)
    assert len(found.representative()) == 8
    assert list(itertools.islice(found.representative().labels, 3)) == [0, 0, 0]


def test_what_ends_has_rows(file, monkeypatch):
    """As encoding reads them; a stream of the same function has none."""
    given = {"image_size": 2, "channels": 1, "fit": "resize", "on_corrupt": "error"}
    images, labels = open_rows(f"python:{file}:splits", "test", **given).rows(2, 5)
    assert images[:, 0, 0, 0].tolist() == [2, 3, 4] and labels.tolist() == [0, 1, 0]
    monkeypatch.setattr(python, "MOST_BYTES", 40)
    with pytest.raises(DataError, match="goes on after 11 samples"):
        open_rows(f"python:{file}:from_start", "train", **given)
