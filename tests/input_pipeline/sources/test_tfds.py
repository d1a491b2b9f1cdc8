"""Prepared TensorFlow data sets, and clear errors for missing ones."""

import os
import socket
import subprocess
import sys

import numpy as np
import pytest

from input_pipeline.sources import DataError, load, open_stream


def test_mnist_without_tensorflow(tfds_data_dir, tmp_path):
    code = (
        "import sys; from input_pipeline.sources import load;"
        "s = load('tfds:mnist', 'test', image_size=32, channels=1, fit='pad');"
        "assert s.images.shape[1:] == (32, 32, 1) and s.num_classes == 10, s.images.shape;"
        "assert len(set(s.labels.tolist())) == 10;"
        "assert 'tensorflow' not in sys.modules"
    )
    env = {**os.environ, "TFDS_DATA_DIR": str(tfds_data_dir), "PYTHONPATH": os.getcwd()}
    subprocess.run([sys.executable, "-c", code], check=True, env=env)


def test_cifar10_split_sizes(tfds_data_dir, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tfds_data_dir))
    test = load("tfds:cifar10", "test", image_size=32, channels=3)
    assert np.bincount(test.labels).tolist() == [1000] * 10
    assert test.class_names[0] == "airplane" and test.class_names[-1] == "truck"
    mean = test.images.mean(axis=(0, 1, 2)) / 255
    assert np.all(np.abs(mean - [0.494, 0.485, 0.450]) < 0.01)
    with pytest.raises(DataError, match="no split 'validation'.*train, test"):
        load("tfds:cifar10", "validation", image_size=32, channels=3)


def test_missing_tfds_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "nothing"))

    def no_network(*_):
        raise OSError("no name service")

    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    with pytest.raises(DataError, match="not prepared in .*nothing.*network.*TFDS_DATA_DIR"):
        load("tfds:cifar10", image_size=32, channels=3)
    with pytest.raises(DataError, match="no data set 'cifar11'; did you mean 'cifar10"):
        load("tfds:cifar11", image_size=32, channels=3)


def test_tfds_record_by_record(tfds_data_dir, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tfds_data_dir))
    stream = open_stream("tfds:cifar10", "test", image_size=32, channels=3)
    assert len(stream) == 10_000 and stream.class_names[0] == "airplane"
    (batch,) = stream.batches(64, 70, 71)
    assert batch.images.shape == (64, 32, 32, 3) and len(set(batch.labels.tolist())) > 5
