"""Latents of a KL autoencoder (Rombach et al., arXiv:2112.10752) in a folder.

`scripts/encode_latents.py` writes the mean and log-variance of each image's posterior and their
statistics (latent_sets.py). Every visit of a stream draws a new latent; a resident set holds the
posteriors' means. Both are standardised per channel.

Else, `<split>_latents.npy` holds values that are trained on unchanged. `<split>_moments.npy` holds
means and log-variances, from which every visit draws a new latent.
"""

import functools
import pathlib

import numpy as np

from input_pipeline import arrays, latent_sets
from input_pipeline.decoding import (
    LATENT_SCALE,
    DataError,
    Decoding,
    Found,
    Records,
    Source,
    progress,
    require_split,
)
from input_pipeline.latent_sets import LOG_VARIANCE, LatentSet
from input_pipeline.space import Latents


def find(rest: str, split: str, options: Decoding) -> Found:
    """A split of an encoded folder, or of one with npy files."""
    folder, latent_set = pathlib.Path(rest).expanduser(), encoded(f"latents:{rest}")
    if latent_set:
        return _find_encoded(folder, latent_set, split, options)
    return _find_npy(folder, split, options)


def encoded(source: str) -> LatentSet | None:
    """What the folder of `latents:<folder>` says that it holds; None for one with npy files.

    Raises:
      DataError: as `latent_sets.describe`.
    """
    folder = pathlib.Path(source.partition(":")[2]).expanduser()
    names = latent_sets.STARTED, latent_sets.FINISHED
    if any((folder / name).is_file() for name in names):
        return latent_sets.describe(folder)
    return None


def _find_encoded(
    folder: pathlib.Path, latent_set: LatentSet, split: str, options: Decoding
) -> Found:
    """A split that scripts/encode_latents.py wrote."""
    require_split(f"latents:{folder}", split, tuple(latent_set.splits))
    _require_shape(folder, latent_set.latent_shape, options)
    if options.latent_scale != LATENT_SCALE:
        raise DataError(
            f"config.data.latent_scale = {options.latent_scale}, but the latents of {folder} are "
            f"standardised by their own statistics; leave it at {LATENT_SCALE}"
        )
    _require_mirrored(folder, latent_set.mirrored, options)
    reader = latent_sets.Reader(folder, latent_set, split)

    def draw(moments: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        copy = int(generator.integers(2)) if options.flip else 0
        return latent_set.normalise(draw_latent(moments[copy], generator))

    @functools.cache
    def read() -> tuple[np.ndarray, np.ndarray]:
        """Means [copies, N, h, w, c] and labels [N]."""
        means = np.empty((1 + options.flip, len(reader), *latent_set.latent_shape), np.float32)
        labels = np.empty(len(reader), np.int32)
        for row in progress(range(len(reader)), f"reading {folder} {split}"):
            moments, labels[row] = reader[row]
            means[:, row] = np.split(moments[: len(means)], 2, axis=-1)[0]
        return latent_set.normalise(means), labels

    return Found(
        None,
        latent_set.splits[split].class_names,
        lambda: (read()[0][0], read()[1]),
        records=Records(len(reader), reader.__getitem__, draw),
        mirrored=(lambda: read()[0][1]) if options.flip else None,
    )


def _find_npy(folder: pathlib.Path, split: str, options: Decoding) -> Found:
    """float16 or float32 [N, H, W, C] latents or [N, H, W, 2C] moments, and `<split>_labels.npy`.

    A latent drawn from moments is multiplied by options.latent_scale.
    """
    _require_mirrored(folder, False, options)
    path, drawn = _locate(folder, split)
    stored = arrays.in_npy(path)
    _check(stored, options, drawn)
    kind = "moments" if drawn else "latents"
    most = arrays.most_rows(map(arrays.in_npy, path.parent.glob(f"*_{kind}.npy")))
    stored_labels = arrays.in_npy(path.with_name(f"{split}_labels.npy"))
    labels = arrays.check_labels(stored_labels, stored.shape[0], most)
    values = stored.read()
    scale = options.latent_scale

    def read(row: int) -> tuple[np.ndarray, int]:
        return _finite(path, values[row : row + 1], row)[0], int(labels[row])

    def draw(moments: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        return draw_latent(moments, generator) * np.float32(scale)

    def decode() -> tuple[np.ndarray, np.ndarray]:
        if drawn:
            raise DataError(
                f"{path}: latents are drawn from moments anew at each visit, which needs a stream; "
                "set config.data.streaming=True"
            )
        return _finite(path, values, 0), labels

    return Found(
        None,
        arrays.classes_of(labels),
        decode,
        records=Records(len(values), read, draw if drawn else None),
    )


def draw_latent(moments: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """A draw from the posterior, float32 [H, W, C], given mean and log-variance [H, W, 2C]."""
    # mean + exp(log-variance / 2) * noise
    mean, log_variance = np.split(moments, 2, axis=-1)
    deviation = np.exp(0.5 * np.clip(log_variance, *LOG_VARIANCE))
    return mean + deviation * generator.standard_normal(mean.shape, np.float32)


def scale_of(source: str, split: str, latent_scale: float) -> float:
    """The factor of the latents of npy files: 1 unless they are drawn from moments.

    Raises:
      DataError: there are no such files.
    """
    _, drawn = _locate(pathlib.Path(source.partition(":")[2]).expanduser(), split)
    return latent_scale if drawn else 1.0


def _locate(root: pathlib.Path, split: str) -> tuple[pathlib.Path, bool]:
    """The file of values, and whether it holds moments to draw from."""
    latents, moments, labels = (
        root / f"{split}_{kind}.npy" for kind in ("latents", "moments", "labels")
    )
    if latents.is_file() and moments.is_file():
        raise DataError(f"{latents} and {moments} both exist; keep only the one to train on")
    values = moments if moments.is_file() else latents
    missing = [path for path in (values, labels) if not path.is_file()]
    if missing:
        raise DataError(
            f"no file {missing[0]}; config.data.source = 'latents:<folder>' names a folder with "
            "<split>_latents.npy (float16 or float32 [N, H, W, C]) or <split>_moments.npy "
            "([N, H, W, 2C]), and <split>_labels.npy (integers [N])"
        )
    return values, values == moments


def _check(stored: arrays.Stored, options: Decoding, drawn: bool) -> None:
    where, shape = stored.where, stored.shape
    if stored.dtype not in (np.float16, np.float32) or len(shape) != 4 or 0 in shape:
        raise DataError(
            f"{where}: values are {stored.dtype} {shape}, expected float16 or float32 "
            f"[N, H, W, {'2C' if drawn else 'C'}], none of them 0; encode the images again"
        )
    height, width, channels = shape[1:]
    if drawn and channels % 2:
        raise DataError(
            f"{where}: {channels} channels do not divide into means and log-variances; save both, "
            "the means first"
        )
    shape = height, width, channels // 2 if drawn else channels
    _require_shape(where, shape, options)


def _require_shape(where: object, shape: tuple[int, int, int], options: Decoding) -> None:
    if not options.keeps(shape):
        raise DataError(
            f"{where} holds latents {shape}, not {options.shape}; set config.data.image_size="
            f"{shape[0]} and config.data.channels={shape[2]} (they must be square)"
        )


def _require_mirrored(folder: pathlib.Path, mirrored: bool, options: Decoding) -> None:
    """Refuses `flip` for a set without mirror images, whose latents nothing else can make."""
    if options.flip and not mirrored:
        raise DataError(
            f"config.data.flip=True, but {folder} holds no latents of mirror images: encode with "
            "scripts/encode_latents.py --flip, or set config.data.flip=False"
        )


def _finite(path: pathlib.Path, values: np.ndarray, first: int) -> np.ndarray:
    """Values of rows `first`, first + 1, ... as float32; DataError for NaN or infinite ones."""
    values = np.asarray(values, np.float32)
    good = np.isfinite(values).all(axis=(1, 2, 3))
    if not good.all():
        raise DataError(
            f"{path}, row {first + int(np.argmin(good))}: NaN or infinite values; encode this "
            "image again"
        )
    return values


# A folder of scripts/encode_latents.py; or
# values [N, H, W, C] in `<split>_latents.npy`, or moments [N, H, W, 2C] in `<split>_moments.npy`
# (streamed only); integers [N] in `<split>_labels.npy`. They must have image_size and channels.
SOURCES = (Source("latents:<folder>", find, kind=Latents, streams=True),)
