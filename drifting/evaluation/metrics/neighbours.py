"""Nearest neighbours of images: whether samples resemble their class or are copies."""

import functools
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from drifting.evaluation.metric import Metric, Need, Row

if TYPE_CHECKING:
    from drifting.evaluation.comparison import Comparison, Reference

NEIGHBOURS = 3  # that vote on a label
_QUERY_ROWS = 1024
_REFERENCE_ROWS = 8192
# Extra candidates beyond k: float32 products do not order near duplicates reliably.
_SPARE = 8


def knn_label_accuracy(
    real_images: np.ndarray,
    real_labels: np.ndarray,
    fake_images: np.ndarray,
    fake_labels: np.ndarray,
    k: int = NEIGHBOURS,
) -> float:
    """Share of fakes [M, H, W, C] whose label is the majority among their k nearest real images.

    Images are uint8, labels integers [N] and [M]; the distance is Euclidean, over pixels. Among
    classes with equally many votes the lowest label wins, as in scikit-learn. Raises ValueError
    if images are not uint8 or differ in shape, for fewer than k real images, and for no fakes.
    """
    if len(real_labels) != len(real_images) or len(fake_labels) != len(fake_images):
        raise ValueError(
            f"expected one label per image: {len(real_images)} real images have "
            f"{len(real_labels)} labels, {len(fake_images)} fakes have {len(fake_labels)}"
        )
    indices, _ = _nearest(fake_images, real_images, k)
    neighbours = np.asarray(real_labels)[indices]  # [M, k]
    classes = np.unique(neighbours)
    votes = (neighbours[:, :, None] == classes).sum(axis=1)  # [M, classes]
    return float(np.mean(classes[votes.argmax(axis=1)] == np.asarray(fake_labels)))


def nearest_distance(queries: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Distance from each query [N, H, W, C] to the nearest reference [M, H, W, C], float64 [N].

    Images are uint8; the distance is Euclidean over all pixels and channels, with black as 0 and
    white as 1. It is exactly 0 for a copy. Raises ValueError if images are not uint8 or differ in
    shape, and for empty sets.
    """
    return _nearest(queries, references, 1)[1][:, 0]


def _nearest(queries: np.ndarray, references: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices [N, k] and distances float64 [N, k] of the k nearest references, nearest first.

    Candidates come from float32 matrix products on the device, in blocks of both sets; their final
    order and distances are computed from their pixels in integers. Of equal distances the lower
    index comes first.
    """
    _check(queries, references, k)
    queries = queries.reshape(len(queries), -1)  # [N, D]
    references = references.reshape(len(references), -1)  # [M, D]
    blocks = [jnp.asarray(block) for block in _split(references, _REFERENCE_ROWS)]
    kept = min(k + _SPARE, len(references))
    found = [
        _measured(part, references, _candidates(part, blocks, kept), k)
        for part in _split(queries, _QUERY_ROWS)
    ]
    indices, distances = zip(*found, strict=True)
    return np.concatenate(indices), np.concatenate(distances)


def _check(queries: np.ndarray, references: np.ndarray, k: int) -> None:
    if queries.dtype != np.uint8 or references.dtype != np.uint8:
        raise ValueError(f"neighbours need uint8 images, got {queries.dtype}, {references.dtype}")
    if queries.shape[1:] != references.shape[1:]:
        raise ValueError(
            f"images of shapes {queries.shape[1:]} and {references.shape[1:]} have no distance: "
            "bring both to one size and one number of channels"
        )
    if len(queries) == 0 or not 1 <= k <= len(references):
        raise ValueError(
            f"k={k} neighbours of {len(queries)} images among {len(references)}: "
            "need at least one query and k references"
        )


def _split(rows: np.ndarray, size: int) -> list[np.ndarray]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _candidates(queries: np.ndarray, blocks: list[jax.Array], kept: int) -> np.ndarray:
    """Indices [N, kept] of the probable nearest rows of all blocks, approximately in order."""
    nearness = jnp.full((len(queries), kept), -jnp.inf, jnp.float32)
    indices = jnp.zeros((len(queries), kept), jnp.int32)
    start = 0
    for block in blocks:
        nearness, indices = _merge_block(queries, block, start, nearness, indices, kept)
        start += len(block)
    return np.asarray(indices)


@functools.partial(jax.jit, static_argnames="kept")
def _merge_block(queries, block, start, nearness, indices, kept):
    """The best `kept` of the candidates so far, [N, kept], and a block of references [M, D]."""
    # Centred pixels lose less to rounding. |q|^2, the same for all references, is left out.
    queries = (queries.astype(jnp.float32) - 127.5) / 255.0
    block = (block.astype(jnp.float32) - 127.5) / 255.0
    inner = jnp.matmul(queries, block.T, precision=jax.lax.Precision.HIGHEST)
    near = 2.0 * inner - jnp.sum(block**2, axis=1)[None]  # |q|^2 - |q - r|^2
    near, inside = jax.lax.top_k(near, min(kept, len(block)))
    near = jnp.concatenate([nearness, near], axis=1)  # [N, kept + block's]
    indices = jnp.concatenate([indices, inside + start], axis=1)
    near, best = jax.lax.top_k(near, kept)
    return near, jnp.take_along_axis(indices, best, axis=1)


def _measured(
    queries: np.ndarray, references: np.ndarray, candidates: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest of each query's candidates, by exact squared distances of uint8 pixels."""
    candidates = np.sort(candidates, axis=1)  # with the stable sort: lower index first
    squared = np.empty(candidates.shape, np.int64)
    signed = queries.astype(np.int32)
    for column, chosen in enumerate(candidates.T):  # one column at a time: [N, D], not [N, k, D]
        squared[:, column] = np.square(signed - references[chosen]).sum(axis=1, dtype=np.int64)
    order = np.argsort(squared, axis=1, kind="stable")[:, :k]
    distances = np.sqrt(np.take_along_axis(squared, order, axis=1)) / 255.0
    return np.take_along_axis(candidates, order, axis=1), distances


def _heldout_distance(reference: "Reference") -> float | None:
    """Median distance of held-out real images to the nearest reference image."""
    if reference.heldout is None:
        return None
    return float(np.median(nearest_distance(reference.heldout, reference.images.images)))


def _columns(comparison: "Comparison") -> dict[str, float | None]:
    """Computed on pixels, for any features."""
    real, samples = comparison.reference.images, comparison.samples
    nearest = nearest_distance(samples.images, real.images)
    accuracy = None
    if real.num_classes > 1 and samples.labels is not None:
        accuracy = knn_label_accuracy(real.images, real.labels, samples.images, samples.labels)
    return {
        "knn_accuracy": accuracy,
        "nn_distance_samples": float(np.median(nearest)),
        "nn_distance_heldout": comparison.reference.once(_heldout_distance),
    }


def _words(row: Row) -> str:
    text = f"median distance to the nearest real image {row['nn_distance_samples']:.3g}"
    if row.get("nn_distance_heldout") is not None:
        text += f" (held-out real: {row['nn_distance_heldout']:.3g})"
    if row.get("knn_accuracy") is not None:
        text = f"{NEIGHBOURS}-NN label accuracy {row['knn_accuracy']:.1%}, {text}"
    return text


METRIC = Metric(
    "neighbours",
    columns=("knn_accuracy", "nn_distance_samples", "nn_distance_heldout"),
    measured_by="nn_distance_samples",  # the accuracy is None without labels
    needs=Need.IMAGES | Need.HELDOUT,
    measure=_columns,
    words=_words,
    least_reference=NEIGHBOURS,
    of_images=True,
    place=70,
)
