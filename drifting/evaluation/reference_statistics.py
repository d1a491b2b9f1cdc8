"""Moments of reference images: computed and cached, or read from files of other programs.

Files are npz with `mu` [D] and `sigma` [D, D], as written by pytorch-fid and clean-fid; ours also
hold `n`, `identity` and `mode`, which say how many images, which network and which resize mode they
come from.
"""

import io
import logging
import os
import pathlib

import jax
import numpy as np

from drifting.core.errors import UserError
from drifting.core.files import cache_dir, write_atomically
from drifting.evaluation import extraction, resize
from drifting.evaluation.features import FeatureFunction
from drifting.evaluation.moments import Moments
from input_pipeline import arrays
from input_pipeline.cache import digest
from input_pipeline.decoding import DataError
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
      StatisticsError: the file is missing or damaged, holds no statistics, or those of other
        features or another resize mode.
    """
    path = pathlib.Path(path).expanduser()
    try:
        if not path.is_file():
            raise StatisticsError(f"there is no file {path}: check --statistics")
        names = arrays.npz_names(path)
        if not {"mu", "sigma"} <= set(names):
            raise DataError(f"{path} has no arrays mu and sigma, but {names}")
        count = int(_values(path, "n", "iu")) if "n" in names else UNKNOWN_COUNT
        origin = {k: str(_values(path, k, "U")) for k in ("identity", "mode") if k in names}
        mean = _values(path, "mu", "fiu", (None,))
        if len(mean) != features.dimension:
            raise StatisticsError(
                f"{path} has statistics of {len(mean)} features, but features {features.name!r} "
                f"have {features.dimension}: choose the file or --features that match"
            )
        covariance = _values(path, "sigma", "fiu", (len(mean), len(mean))).astype(np.float64)
        _check_covariance(path, covariance)
        found = Moments(count, mean.astype(np.float64), covariance)
    except DataError as error:
        raise StatisticsError(
            f"{error}: write the file again with pytorch-fid or clean-fid, or leave out "
            "--statistics"
        ) from error
    _check_origin(path, origin, features)
    return found


def _values(
    path: pathlib.Path, name: str, kinds: str, shape: tuple[int | None, ...] = ()
) -> np.ndarray:
    """An array of the file, of one of these kinds of dtype; None in `shape` is any length.

    Raises:
      DataError: it is damaged, of another kind or shape, or not finite.
    """
    stored = arrays.in_npz(path, name)
    fits = len(stored.shape) == len(shape) and all(
        wanted in (None, given) for wanted, given in zip(shape, stored.shape, strict=True)
    )
    if not fits or stored.dtype.kind not in kinds:
        lengths = ", ".join("D" if n is None else str(n) for n in shape)
        raise DataError(
            f"{stored.where} is {stored.dtype} {stored.shape}, expected "
            f"{'text' if kinds == 'U' else 'numbers'} [{lengths}]"
        )
    values = stored.read()
    if kinds != "U" and not np.isfinite(values).all():
        raise DataError(f"{stored.where} has values that are NaN or infinite")
    return values


def _check_covariance(path: pathlib.Path, matrix: np.ndarray) -> None:
    """Raises DataError for a matrix [D, D] that cannot be a covariance."""
    largest = np.abs(matrix).max(initial=0.0)
    deviations = np.sqrt(np.diagonal(matrix).clip(0.0))
    bound = np.outer(deviations, deviations) + 1e-6 * largest  # Cauchy and Schwarz
    symmetric = np.allclose(matrix, matrix.T, rtol=0.0, atol=1e-6 * largest)
    if not symmetric or (np.abs(matrix) > bound).any():
        raise DataError(
            f"{path}: sigma is no covariance matrix, which is symmetric and has no entry beyond "
            "the product of two deviations"
        )


def _check_origin(path: pathlib.Path, origin: dict[str, str], features: FeatureFunction) -> None:
    """Refuses files known to be from another mode or network; warns if the origin is unknown."""
    identity = origin.get("identity", "")
    modes = [m for m in resize.MODES if m in path.name]  # clean-fid names its files by mode
    mode = origin["mode"] if "mode" in origin else (modes[0] if len(modes) == 1 else "")
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
