"""Moments of reference images: computed and cached, or read from files of other programs.

Files are npz with `mu` [D] and `sigma` [D, D], as written by pytorch-fid and clean-fid; ours also
hold `n`, `identity` and `mode`, which say how many images, which network and which resize mode they
come from.
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
from drifting.evaluation import extraction, resize
from drifting.evaluation.features import FeatureFunction
from drifting.evaluation.moments import Moments
from input_pipeline.cache import digest
from input_pipeline.image_set import ImageSet

log = logging.getLogger(__name__)

UNKNOWN_COUNT = 0  # files of other programs do not hold the number of images


class StatisticsError(UserError):
    """Reference statistics that cannot be used."""


def moments_of(
    images: ImageSet,
    features: FeatureFunction,
    batch_size: int,
    sharding: jax.sharding.NamedSharding | None = None,
) -> Moments:
    """Moments of a split, read from the cache, or computed and cached.

    The cache key holds the fingerprint of the images, which follows from their content alone, and
    the identity of the features (weights, resize mode).
    """
    key = digest([images.fingerprint, features.identity])
    path = cache_dir() / "statistics" / f"{key}.npz"
    if path.is_file():
        try:
            return read(path, features)
        except StatisticsError as error:
            log.warning("%s; computing the statistics again", error)
    found = extraction.extract_features(
        extraction.in_batches(images.images, batch_size),
        images.space,
        features,
        total=len(images),
        batch_size=batch_size,
        sharding=sharding,
        title=f"{features.name} of {images.source} {images.split}",
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, found.moments, features)
    except OSError as error:
        log.warning("cannot keep statistics in %s: %s", path.parent, error.strerror)
    return found.moments


def write(path: str | os.PathLike, moments: Moments, features: FeatureFunction) -> None:
    """Writes statistics in a file that pytorch-fid can read as well."""
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
    """Reads statistics from a file written by this project, pytorch-fid or clean-fid.

    Raises:
      StatisticsError: the file is missing or damaged, or has other features or another resize mode.
    """
    path = pathlib.Path(path)
    try:
        with np.load(path) as arrays:
            values = dict(arrays)
        mean, covariance = (np.asarray(values[k], np.float64) for k in ("mu", "sigma"))
    except FileNotFoundError as error:
        raise StatisticsError(f"there is no file {path}: check --statistics") from error
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise StatisticsError(
            f"{path} is damaged or has no arrays mu and sigma ({error}): write it again with "
            "pytorch-fid or clean-fid, or leave out --statistics"
        ) from error
    if mean.shape != (features.dimension,):
        raise StatisticsError(
            f"{path} has statistics of {mean.shape[0]} features, but features {features.name!r} "
            f"have {features.dimension}: choose the file or --features that match"
        )
    _check_origin(path, values, features)
    return Moments(int(values.get("n", UNKNOWN_COUNT)), mean, covariance)


def _check_origin(path: pathlib.Path, values: dict, features: FeatureFunction) -> None:
    """Refuses files known to be from another mode or network; warns if the origin is unknown."""
    identity = str(values.get("identity", ""))
    modes = [m for m in resize.MODES if m in path.name]  # clean-fid names its files by mode
    mode = str(values["mode"]) if "mode" in values else (modes[0] if len(modes) == 1 else "")
    if mode and mode != features.mode:
        raise StatisticsError(
            f"{path} was made with --fid_mode {mode}, but the samples are scored with "
            f"{features.mode or features.name}: score with --fid_mode {mode}"
        )
    if identity and identity != features.identity:
        raise StatisticsError(
            f"{path} was made with another network ({identity}): leave out --statistics"
        )
    if not identity:
        log.warning(
            "%s does not say how it was made: scores are right only if that was --fid_mode %s",
            path,
            features.mode,
        )
