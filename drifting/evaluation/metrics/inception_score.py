"""Inception Score: Salimans et al., arXiv:1606.03498, section 4."""

from typing import TYPE_CHECKING

import numpy as np
import scipy.special

from drifting.evaluation import metric
from drifting.evaluation.metric import Metric, Need

if TYPE_CHECKING:
    from drifting.evaluation.measured import Measured

SPLITS = 10


def inception_score(logits: np.ndarray, splits: int = SPLITS) -> tuple[float, float]:
    """exp of the mean KL divergence of p(y|x) from p(y): mean and deviation over splits.

    Args:
      logits: [N, K], in the order in which samples were drawn; split s takes every vector from
        s N / splits on.

    Raises:
      ValueError: fewer vectors than splits.
    """
    if len(logits) < splits:
        raise ValueError(f"{len(logits)} samples cannot be split in {splits}")
    log_p = scipy.special.log_softmax(np.asarray(logits, np.float64), axis=1)
    scores = [np.exp(_mean_divergence(part)) for part in np.array_split(log_p, splits)]
    return float(np.mean(scores)), float(np.std(scores))


def _mean_divergence(log_p: np.ndarray) -> float:
    log_marginal = scipy.special.logsumexp(log_p, axis=0) - np.log(len(log_p))
    return float(np.mean(np.sum(np.exp(log_p) * (log_p - log_marginal), axis=1)))


def _columns(measured: "Measured") -> dict[str, float]:
    mean, deviation = inception_score(measured.samples.logits)
    return {"inception_score": mean, "inception_score_std": deviation}


METRIC = Metric(
    "is",
    columns=("inception_score", "inception_score_std"),
    needs=Need.LOGITS,
    measure=_columns,
    words=metric.mean_and_deviation("inception_score", "inception_score_std"),
    least_samples=SPLITS,
    of_images=True,
    place=30,
)
