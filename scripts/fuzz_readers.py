"""The readers of files that users bring, each with a small valid input, for fuzz.py."""

import dataclasses
import functools
import json
import pathlib
import pickle
import tempfile
from collections.abc import Callable

import jax
import numpy as np
import safetensors.numpy
from jax.tree_util import Partial
from PIL import Image

from configs import digits
from drifting import methods
from drifting.core import config as config_lib
from drifting.core.facts import DataFacts
from drifting.evaluation import record, reference_statistics
from drifting.evaluation.features import FeatureFunction
from drifting.pretrained import files, tensorflow_graph
from drifting.runs import workdir
from drifting.training import checkpoints, writers
from input_pipeline import sources, splits
from input_pipeline.space import Pixels

SIZE = 8  # of an image


@dataclasses.dataclass(frozen=True)
class Reader:
    """Makes a valid input and reads a changed one.

    Attributes:
      write: writes a valid input in an empty folder.
      read: reads the input in a folder; only a UserError may leave it.
    """

    write: Callable[[pathlib.Path], object]
    read: Callable[[pathlib.Path], object]


@functools.cache
def valid_files(name: str) -> dict[str, bytes]:
    """The valid input of a reader: contents by relative path."""
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        READERS[name].write(root)
        files = (path for path in root.rglob("*") if path.is_file())
        found = {path.relative_to(root).as_posix(): path.read_bytes() for path in files}
        READERS[name].read(root)  # a valid input is read
        return found


def _pixels(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def _load(source: str, image_size: int = SIZE, channels: int = 3, **options) -> Callable:
    """Reads a source whose name holds {folder}."""

    def read(folder: pathlib.Path) -> None:
        name = source.format(folder=folder)
        sources.load(name, "train", image_size=image_size, channels=channels, **options)

    return read


# --- images --------------------------------------------------------------------------------------


def _write_pictures(folder: pathlib.Path) -> None:
    """One picture per format and class."""
    rgb, grey = Image.fromarray(_pixels(0, SIZE, SIZE, 3)), _pixels(1, SIZE, SIZE)
    wide = Image.fromarray(grey.astype(np.uint16) * 257)
    pictures = {
        "a/0.png": rgb, "a/1.png": wide, "a/2.png": Image.fromarray(_pixels(2, SIZE, SIZE, 4)),
        "a/3.gif": rgb, "b/0.jpg": rgb, "b/1.bmp": rgb, "b/2.tif": wide, "b/3.webp": rgb,
    }  # fmt: skip
    for name, picture in pictures.items():
        path = folder / "train" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)


def _write_tiny_imagenet(folder: pathlib.Path) -> None:
    for wnid in ("n01", "n02"):
        images = folder / "train" / wnid / "images"
        images.mkdir(parents=True)
        Image.fromarray(_pixels(3, SIZE, SIZE, 3)).save(images / f"{wnid}_0.JPEG")
    (folder / "wnids.txt").write_text("n01\nn02\n")
    (folder / "words.txt").write_text("n01\tgoldfish, carp\nn02\tbee\n")


# --- arrays --------------------------------------------------------------------------------------


def _write_npz(folder: pathlib.Path) -> None:
    arrays = {"images": _pixels(4, 6, SIZE, SIZE, 3), "labels": np.arange(6) % 3}
    np.savez(folder / "train.npz", **arrays)


def _write_npy(folder: pathlib.Path) -> None:
    np.save(folder / "train_images.npy", _pixels(5, 6, SIZE, SIZE, 3))
    np.save(folder / "train_labels.npy", np.arange(6) % 3)


def _write_latents(folder: pathlib.Path) -> None:
    values = np.random.default_rng(6).standard_normal((6, 4, 4, 4), np.float32)
    np.save(folder / "train_latents.npy", values)
    np.save(folder / "train_labels.npy", np.arange(6) % 3)


def _write_pickles(folder: pathlib.Path) -> None:
    for i in range(1, 6):
        batch = {b"data": _pixels(i, 2, 3072), b"labels": [0, 1]}
        (folder / f"data_batch_{i}").write_bytes(pickle.dumps(batch, protocol=2))
    names = {b"label_names": [f"class {i}".encode() for i in range(10)]}
    (folder / "batches.meta").write_bytes(pickle.dumps(names, protocol=2))


def _write_binary(folder: pathlib.Path) -> None:
    for i in range(1, 6):
        (folder / f"data_batch_{i}.bin").write_bytes(b"\1" + _pixels(i, 3072).tobytes())
    (folder / "batches.meta.txt").write_text("".join(f"class {i}\n" for i in range(10)))


# --- weights and statistics ----------------------------------------------------------------------

FEATURES = FeatureFunction("pixels", 4, Partial(lambda x: x), "given")


def _write_statistics(folder: pathlib.Path) -> None:
    np.savez(folder / "statistics.npz", mu=np.zeros(4), sigma=np.eye(4), n=np.asarray(9))


def _field(number: int, content: bytes) -> bytes:
    """A field of a protocol buffer, of fewer than 128 bytes."""
    return bytes([8 * number + 2, len(content)]) + content


def _write_graph(folder: pathlib.Path) -> None:
    """A frozen graph with one constant; see tensorflow_graph.py for the numbers."""
    shape = _field(tensorflow_graph.SHAPE, _field(tensorflow_graph.DIMENSION, b"\x08\x02"))
    tensor = b"\x08\x01" + shape + _field(tensorflow_graph.CONTENT, bytes(8))
    value = _field(1, b"value") + _field(2, _field(tensorflow_graph.TENSOR, tensor))
    node = _field(1, b"weights") + _field(2, b"Const") + _field(5, value)
    (folder / "graph.pb").write_bytes(_field(1, node) * 3)


def _write_safetensors(folder: pathlib.Path) -> None:
    state = {"a.weight": np.ones((2, 2), np.float32), "a.bias": np.zeros(2, np.float32)}
    safetensors.numpy.save_file(state, folder / "state.safetensors")


def _read_graph(path: pathlib.Path) -> dict[str, np.ndarray]:
    return tensorflow_graph.constants(path.read_bytes())


# --- what a run wrote ----------------------------------------------------------------------------


def _write_run(folder: pathlib.Path) -> None:
    """config.json, metrics.jsonl, split.json and the record of a run on digits."""
    config = config_lib.resolve(digits.get_config())
    facts = DataFacts(
        Pixels((8, 8, 1)), tuple("0123456789"), (99,) * 10, 990, (0.0,), (1.0,), "digits", False
    )
    config_lib.write(folder / "config.json", config, {"data": facts.to_json()})
    rows = [{"step": step, "loss": 1.0 / step} for step in (1, 2, 3)]
    lines = [json.dumps(row) + "\n" for row in rows]
    (folder / "metrics.jsonl").write_text("".join(lines))
    (folder / "eval").mkdir()
    scores = {"step": 3, "frechet_distance": 1.5, "split": "train", "version": record.VERSION}
    (folder / record.RECORD).write_text(json.dumps(scores) + "\n")


def _read_run(folder: pathlib.Path) -> None:
    config, facts = config_lib.read_complete(folder / "config.json")
    methods.create(config, workdir.read_facts(folder, facts), None)


def _write_split(folder: pathlib.Path) -> None:
    images = sources.load("digits", "train", image_size=8, channels=1)
    splits.write(folder / "split.json", splits.make(images, 5))


STATE = {"kernel": np.ones((2, 3), np.float32), "step": np.asarray(7, np.int32)}


def _write_checkpoint(folder: pathlib.Path) -> None:
    saved = checkpoints.Checkpoints(folder)
    saved.save(jax.tree.map(jax.numpy.asarray, STATE), 7, {"loss": 1.0})
    saved.close()


def _read_checkpoint(folder: pathlib.Path) -> None:
    place = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), STATE)
    for step in checkpoints.valid_steps(folder):
        state, _ = checkpoints.restore(folder, step, shapes)
        if not all(jax.tree.leaves(jax.tree.map(np.array_equal, state, STATE))):
            raise AssertionError("a damaged checkpoint was restored")


def _weights(file: str, read: Callable) -> Callable:
    readers = {pathlib.Path(file).suffix: read}
    return lambda folder: files.read(folder / file, readers, "")


READERS = {
    "pictures": Reader(_write_pictures, _load("folder:{folder}")),
    "pictures_skip": Reader(_write_pictures, _load("folder:{folder}", on_corrupt="skip")),
    "compared": Reader(_write_pictures, lambda folder: sources.load_unresized(folder / "train")),
    "tiny_imagenet": Reader(_write_tiny_imagenet, _load("tiny_imagenet:{folder}")),
    "npz": Reader(_write_npz, _load("npz:{folder}/train.npz")),
    "npy": Reader(_write_npy, _load("npy:{folder}")),
    "latents": Reader(_write_latents, _load("latents:{folder}", 4, 4)),
    "cifar10_pickles": Reader(_write_pickles, _load("cifar10:{folder}", 32)),
    "cifar10_binary": Reader(_write_binary, _load("cifar10:{folder}", 32)),
    "statistics": Reader(
        _write_statistics, lambda f: reference_statistics.read(f / "statistics.npz", FEATURES)
    ),
    "graph": Reader(_write_graph, _weights("graph.pb", _read_graph)),
    "safetensors": Reader(
        _write_safetensors, _weights("state.safetensors", files.read_safetensors)
    ),
    "config": Reader(_write_run, _read_run),
    "metrics": Reader(_write_run, lambda folder: writers.read_metrics(folder / "metrics.jsonl")),
    "scores": Reader(_write_run, record.draw),
    "split": Reader(_write_split, lambda folder: splits.read(folder / "split.json")),
    "checkpoint": Reader(_write_checkpoint, _read_checkpoint),
}
