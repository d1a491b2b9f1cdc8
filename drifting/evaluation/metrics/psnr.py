"""Peak signal-to-noise ratio of reconstructions."""

from typing import TYPE_CHECKING

import numpy as np

from drifting.evaluation.metric import Metric, Need, Row

if TYPE_CHECKING:
    from drifting.evaluation.comparison import Comparison

_ROWS = 1000  # images at a time


def mean_psnr(originals: np.ndarray, reconstructions: np.ndarray) -> float:
    """The mean over images, uint8 [M, H, W, C], of their `fidelity.psnr` in dB."""
    from drifting.core import fidelity

    total = 0.0
    for start in range(0, len(originals), _ROWS):
        part = slice(start, start + _ROWS)
        found = fidelity.psnr(originals[part], reconstructions[part])
        total += float(np.asarray(found, np.float64).sum())
    return total / len(originals)


def _columns(comparison: "Comparison") -> dict[str, float]:
    samples = comparison.samples
    return {"psnr": mean_psnr(samples.originals.images.images, samples.images)}


def _words(row: Row) -> str:
    return f"PSNR {row['psnr']:.2f} dB"


METRIC = Metric(
    "psnr",
    columns=("psnr",),
    needs=Need.IMAGES | Need.ORIGINALS,
    measure=_columns,
    words=_words,
    of_images=True,
    drawn="psnr",
    place=80,
)
