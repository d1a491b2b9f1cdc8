"""Unpaired data from TensorFlow Datasets: splits in pairs, and two classes of one set."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from input_pipeline.sources import DataError, load

SOURCE = "tfds:cycle_gan/monet2photo"
GREYS = {"trainA": [10, 11], "trainB": [20, 21, 22], "testA": [30], "testB": [40, 41]}


@pytest.fixture
def monet2photo(tmp_path, monkeypatch):
    """A prepared copy of the data set whose images are of one grey value each."""
    from array_record.python.array_record_module import ArrayRecordWriter
    from tensorflow_datasets.proto import tf_example_pb2

    folder = tmp_path / "cycle_gan" / "monet2photo" / "3.0.0"
    folder.mkdir(parents=True)
    for split, greys in GREYS.items():
        name = f"cycle_gan-{split}.array_record-00000-of-00001"
        writer = ArrayRecordWriter(str(folder / name), "group_size:1")
        for grey in greys:
            content, example = io.BytesIO(), tf_example_pb2.Example()
            Image.new("RGB", (6, 4), (grey,) * 3).save(content, "PNG")
            features = example.features.feature
            features["image"].bytes_list.value.append(content.getvalue())
            features["label"].int64_list.value.append("AB".index(split[-1]))
            writer.write(example.SerializeToString())
        writer.close()
    template = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
    splits = [
        {"filepathTemplate": template, "name": split, "shardLengths": [str(len(greys))]}
        for split, greys in GREYS.items()
    ]
    info = {"fileFormat": "array_record", "name": "cycle_gan", "version": "3.0.0",
            "configName": "monet2photo", "splits": splits}  # fmt: skip
    (folder / "dataset_info.json").write_text(json.dumps(info))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))


@pytest.mark.usefixtures("monet2photo")
def test_splits_in_pairs():
    def greys_of(sides, split):
        found = load(f"unpaired:{sides}", split, image_size=4, channels=3)
        values = found.images[:, 0, 0, 0]
        return {name: values[found.labels == k].tolist()
                for k, name in enumerate(found.class_names)}  # fmt: skip

    for split in ("train", "test"):
        a, b = GREYS[f"{split}A"], GREYS[f"{split}B"]
        assert greys_of(SOURCE, split) == {"A": a, "B": b}
        reverse = greys_of(f"{SOURCE}@B,{SOURCE}@A", split)
        assert reverse == {"B": b, "A": a} and list(reverse) == ["B", "A"]
    with pytest.raises(DataError, match="no split 'valA'; it has trainA, trainB, testA, testB"):
        greys_of(SOURCE, "val")


def test_two_classes_of_cifar10(tfds_data_dir, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tfds_data_dir))
    source = "unpaired:tfds:cifar10#horse,tfds:cifar10#deer"
    found = load(source, "test", image_size=32, channels=3)
    assert found.class_names == ("horse", "deer") and found.class_counts == (1000, 1000)
    whole = load("tfds:cifar10", "test", image_size=32, channels=3)
    horses = whole.images[whole.labels == whole.class_names.index("horse")]
    np.testing.assert_array_equal(found.images[found.labels == 0], horses)
    with pytest.raises(DataError, match="no class 'hors'; it has airplane.*did you mean 'horse'"):
        load(source.replace("horse", "hors"), "test", image_size=32, channels=3)
