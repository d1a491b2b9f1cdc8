"""What all sources have in common: their names, the space of their samples, and config.data."""

import dataclasses
import pkgutil

import numpy as np
import pytest

from drifting.core.errors import ConfigError
from input_pipeline import sources
from input_pipeline.sources import SOURCES, DataError, Settings, load, open_stream, registry
from input_pipeline.space import Latents, Pixels, Points


@pytest.mark.parametrize(
    "source,message",
    [
        ("digit", "did you mean 'digits'"),
        ("folder:/nowhere/at/all", "no folder /nowhere/at/all"),
        ("npz:/nowhere.npz", "no file /nowhere.npz"),
    ],
)
def test_unknown_or_missing_source(source, message):
    with pytest.raises(DataError, match=message):
        load(source, image_size=8, channels=1)


# --- registry and spaces -------------------------------------------------------------------------


def test_every_file_is_registered_and_every_name_is_its_own():
    modules = [module.name for module in pkgutil.iter_modules(sources.__path__)]
    assert sorted(modules) == sorted([*registry.FILES, "registry"])
    records = [record for name in registry.FILES for record in getattr(sources, name).SOURCES]
    assert len(records) == len(SOURCES)
    assert all(SOURCES[record.scheme] is record for record in records)


@pytest.mark.parametrize(
    "source,size,channels,space",
    [
        ("digits", 12, 3, Pixels((12, 12, 3))),
        ("shapes", 8, 1, Pixels((8, 8, 1))),
        ("overfit:4", 8, 3, Pixels((8, 8, 3))),
        ("folder:{}/set", 8, 3, Pixels((8, 8, 3))),
        ("npz:{}/set.npz", 6, 1, Pixels((6, 6, 1))),
        ("npy:{}", 6, 1, Pixels((6, 6, 1))),
        ("latents:{}", 4, 5, Latents((4, 4, 5))),
        ("toy2d:moons", 8, 1, Points((2,))),
    ],
)
def test_samples_have_the_space_of_their_source(folder, tmp_path, source, size, channels, space):
    images, labels = np.zeros((3, 4, 4, 3), np.uint8), np.arange(3)
    np.savez(tmp_path / "set.npz", images=images, labels=labels)
    for name, values in {
        "images": images, "labels": labels, "latents": np.ones((3, 4, 4, 5), np.float16),
    }.items():  # fmt: skip
        np.save(tmp_path / f"train_{name}.npy", values)
    given = dict(source=source.format(tmp_path), image_size=size, channels=channels)
    found = load(**given)
    assert found.space == space and found.images.shape[1:] == space.shape
    assert space.holds(found.images)
    if SOURCES[source.partition(":")[0]].streams:
        stream = open_stream(**given)
        (batch,) = stream.batches(2, 0, 1)
        assert stream.space == batch.space == space and space.holds(batch.images)


def test_values_of_another_space_are_refused():
    digits = load("digits", "test", image_size=8, channels=1)
    for space in (Points((2,)), Latents((8, 8, 1)), Pixels((8, 8, 3))):
        with pytest.raises(ValueError, match=f"digits: values are uint8 .*but {space.noun} are"):
            dataclasses.replace(digits, space=space)


# --- config.data ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "keys",
    [
        {},
        dict(source="latents:somewhere", channels=4, streaming=True),
        dict(source="toy2d:moons", channels=2),
        dict(source="folder:somewhere", channels=3, streaming=True, read_threads=1),
        dict(num_val=100, on_corrupt="skip", fit="pad"),
    ],
)
def test_valid_settings_pass_the_check_without_data(keys):
    Settings(**keys).check()


@pytest.mark.parametrize(
    "keys,error,message",
    [
        (dict(source="digit"), DataError, "unknown data source 'digit'.* mean 'digits'"),
        (dict(channels=2), DataError, r"config.data.channels = 2 is not one of \(1, 3\)"),
        (dict(fit="crop"), DataError, "config.data.fit = 'crop' is not one of .*resize.*pad"),
        (dict(on_corrupt="warn"), DataError, "config.data.on_corrupt = 'warn' is not one of"),
        (dict(streaming=True), DataError, "digits cannot be streamed; folder:.* can.*=False"),
        (dict(streaming=True, num_val=5), ConfigError, "num_val = 5, but no part of a stream"),
        (dict(streaming=True, read_threads=0), DataError, "read_threads = 0 is less than one"),
        (dict(streaming=True, on_corrupt="skip"), DataError, "every position has its record"),
    ],
)
def test_invalid_settings_are_named(keys, error, message):
    with pytest.raises(error, match=message):
        Settings(**keys).check()
