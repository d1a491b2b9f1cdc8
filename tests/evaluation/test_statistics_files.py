"""Files given as --statistics: what holds no statistics ends in one line that names the file."""

import pathlib

import numpy as np
import pytest

from drifting.evaluation import reference_statistics
from drifting.evaluation.features import feature_function
from drifting.evaluation.reference_statistics import StatisticsError
from input_pipeline.space import Pixels

D = 4
FUNCTION = feature_function("pixels", Pixels((2, 2, 1)), "clean")
MEAN, COVARIANCE = np.zeros(D), np.diag([1.0, 2.0, 3.0, 4.0])
UPPER = np.triu(np.ones((D, D)))


@pytest.mark.parametrize(
    "changed,message",
    [
        (dict(mu=np.float64(1.0)), r"mu is float64 \(\), expected numbers \[D\]"),
        (dict(mu=MEAN[None]), r"mu is float64 \(1, 4\), expected numbers \[D\]"),
        (dict(mu=np.array(["a", "b", "c", "d"])), "mu is <U1 "),
        (dict(mu=MEAN.astype(complex)), "mu is complex128 "),
        (dict(mu=np.array([None] * D)), "mu is object "),
        (dict(mu=np.full(D, np.nan)), "mu has values that are NaN or infinite"),
        (dict(sigma=np.ones(D)), r"sigma is float64 \(4,\), expected numbers \[4, 4\]"),
        (dict(sigma=np.eye(D + 1)), r"sigma is float64 \(5, 5\), expected numbers \[4, 4\]"),
        (dict(sigma=np.full((D, D), np.inf)), "sigma has values that are NaN or infinite"),
        (dict(sigma=-COVARIANCE), "sigma is no covariance matrix"),
        (dict(sigma=UPPER), "sigma is no covariance matrix"),
        (dict(sigma=np.eye(D) + np.ones((D, D)) * 2 - np.eye(D) * 2), "sigma is no covariance"),
        (dict(n=np.array([1, 2])), r"n is int64 \(2,\), expected numbers \[\]"),
        (dict(mode=np.float64(1.0)), r"mode is float64 \(\), expected text \[\]"),
    ],
)  # fmt: skip
def test_arrays_of_another_form(tmp_path, changed, message):
    path = tmp_path / "s.npz"
    np.savez(path, **{"mu": MEAN, "sigma": COVARIANCE, **changed})
    with pytest.raises(StatisticsError, match=message) as caught:
        reference_statistics.read(path, FUNCTION)
    assert "s.npz" in str(caught.value) and "\n" not in str(caught.value)
    np.savez(path, mu=MEAN.astype(np.float32), sigma=COVARIANCE, n=np.int64(9))
    found = reference_statistics.read(path, FUNCTION)
    assert found.n == 9 and found.mean.dtype == np.float64


@pytest.mark.parametrize("name", ["text.npz", "array.npy", "folder.npz", "half.npz"])
def test_files_that_are_no_archives(tmp_path, name):
    path = tmp_path / name
    if name.startswith("folder"):
        path.mkdir()
    elif name.endswith(".npy"):
        np.save(path, MEAN)
    else:
        np.savez(path, mu=MEAN, sigma=COVARIANCE)
        whole = path.read_bytes()
        path.write_bytes(b"text" if name.startswith("text") else whole[: len(whole) // 2])
    with pytest.raises(StatisticsError, match=name):
        reference_statistics.read(path, FUNCTION)


def test_a_place_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    np.savez(tmp_path / "s.npz", mu=MEAN, sigma=COVARIANCE)
    found = reference_statistics.read(pathlib.Path("~/s.npz"), FUNCTION)
    np.testing.assert_array_equal(found.covariance, COVARIANCE)
