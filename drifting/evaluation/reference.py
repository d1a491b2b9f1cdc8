"""Reference statistics: of a data source, kept in the cache, or from other programs' files.

Files are npz with `mu` [D] and `sigma` [D, D] as pytorch-fid and clean-fid write them; ours hold
`n`, `identity` and `mode` as well, which say what they are statistics of.
"""

import io
import logging
import os
import pathlib
import zipfile

import jax
import numpy as np

from drifting.core.errors import UserError
from drifting.core.files import cache_dir, write_atomically
from drifting.evaluation import collect, resize
from drifting.evaluation.features import FeatureFunction
from drifting.evaluation.moments import Moments
from input_pipeline.cache import digest
from input_pipeline.image_set import ImageSet

log = logging.getLogger(__name__)

UNKNOWN_COUNT = 0  # files of other programs do not say of how many images they are


class StatisticsError(UserError):
    """Statistics that cannot be used; the message says why."""


def moments_of(
    images: ImageSet,
    features: FeatureFunction,
    batch_size: int,
    sharding: jax.sharding.NamedSharding | None = None,
) -> Moments:
    """Moments of a split, from the cache or computed and put there.

    The key holds the source's fingerprint (content, split, decoding) and the features' identity
    (weights, resize mode).
    """
    key = digest([images.fingerprint, len(images), features.identity])
    path = cache_dir() / "statistics" / f"{key}.npz"
    if path.is_file():
        try:
            return read(path, features)
        except StatisticsError as error:
            log.warning("%s; computing it anew", error)
    found = collect.describe_images(
        collect.split(images.images, batch_size),
        images.space,
        features,
        total=len(images),
        batch_size=batch_size,
        sharding=sharding,
        what=f"{features.name} of {images.source} {images.split}",
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, found.moments, features)
    except OSError as error:
        log.warning("cannot keep statistics in %s: %s", path.parent, error.strerror)
    return found.moments


def write(path: str | os.PathLike, moments: Moments, features: FeatureFunction) -> None:
    """Writes statistics, readable by pytorch-fid as well."""
    content = io.BytesIO()
    np.savez(
        content,
        mu=moments.mean,
        sigma=moments.covariance,
        n=moments.n,
        identity=features.identity,
        mode=features.mode,
    )
    write_atomically(path, content.getvalue())


def read(path: str | os.PathLike, features: FeatureFunction) -> Moments:
    """Statistics from a file of ours, of pytorch-fid's or of clean-fid's.

    Raises:
      StatisticsError: no such file, damaged, of other features or another resize mode.
    """
    path = pathlib.Path(path)
    try:
        with np.load(path) as arrays:
            values = dict(arrays)
        mean, covariance = (np.asarray(values[k], np.float64) for k in ("mu", "sigma"))
    except FileNotFoundError as error:
        raise StatisticsError(f"no statistics at {path}") from error
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise StatisticsError(
            f"{path} is damaged or has no arrays mu and sigma: {error}"
        ) from error
    if mean.shape != (features.dimension,):
        raise StatisticsError(
            f"{path} has statistics of {mean.shape[0]} features, {features.name} has "
            f"{features.dimension}"
        )
    _check_origin(path, values, features)
    return Moments(int(values.get("n", UNKNOWN_COUNT)), mean, covariance)


def _check_origin(path: pathlib.Path, values: dict, features: FeatureFunction) -> None:
    """Refuses what is known to be of another mode or network; warns where nothing is known."""
    identity = str(values.get("identity", ""))
    modes = [m for m in resize.MODES if m in path.name]  # clean-fid names its files by mode
    mode = str(values["mode"]) if "mode" in values else (modes[0] if len(modes) == 1 else "")
    if mode and mode != features.mode:
        raise StatisticsError(
            f"{path} was made with --fid_mode {mode}, the samples are scored with "
            f"{features.mode or features.name}: the distance would mean nothing"
        )
    if identity and identity != features.identity:
        raise StatisticsError(f"{path} was made with another network ({identity})")
    if not identity:
        log.warning(
            "%s does not say how it was made: the score is right only if that was --fid_mode %s",
            path,
            features.mode,
        )
