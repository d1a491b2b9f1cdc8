"""Whatever a source decodes is checked before it is used."""

import shutil

import numpy as np
import pytest

from input_pipeline import sources
from input_pipeline.decoding import DataError, Found, Source


@pytest.mark.parametrize(
    "labels,message",
    [
        ([0, -1, 1], "made, split 'test': 1 labels are not in 0 to 1, the first is -1 of sample 1"),
        ([0, 1, 2], "the first is 2 of sample 2; choose a split with labels"),
        ([0, 1], r"3 samples and labels \(2,\)"),
        ([[0], [1], [1]], r"3 samples and labels \(3, 1\)"),
    ],
)
def test_labels_that_no_class_has(monkeypatch, labels, message):
    """TensorFlow Datasets gives the label -1 to the records of a split without labels."""

    def find(rest, split, options):
        images = np.zeros((3, 4, 4, 1), np.uint8)
        return Found(None, ("a", "b"), lambda: (images, np.asarray(labels)))

    monkeypatch.setitem(sources.SOURCES, "made", Source("made", find))
    with pytest.raises(DataError, match=message):
        sources.load("made", "test", image_size=4, channels=1)


def test_a_split_without_samples(monkeypatch):
    def find(rest, split, options):
        return Found(None, ("a",), lambda: (np.zeros((0, 4, 4, 1), np.uint8), np.zeros(0, int)))

    monkeypatch.setitem(sources.SOURCES, "made", Source("made", find))
    with pytest.raises(DataError, match="0 samples and labels .* at least one sample"):
        sources.load("made", image_size=4, channels=1)


def test_damaged_files_of_tensorflow_datasets(tfds_data_dir, tmp_path, monkeypatch):
    folder = tmp_path / "mnist"
    shutil.copytree(tfds_data_dir / "mnist", folder)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    given = dict(image_size=28, channels=1)
    (records,) = folder.glob("*/*test.array_record*")
    content = bytearray(records.read_bytes())
    content[100:300] = bytes(200)
    records.write_bytes(content)
    with pytest.raises(
        DataError, match="tfds:mnist test, row 0 cannot be read: .*prepare it again"
    ):
        sources.open_stream("tfds:mnist", "test", **given).records.read(0)
    (info,) = folder.glob("*/dataset_info.json")
    info.write_text("{")
    with pytest.raises(DataError, match="tfds:mnist cannot be read"):
        sources.open_stream("tfds:mnist", "train", **given)
