"""Inception Score: Salimans et al., arXiv:1606.03498, section 4."""

import itertools
from typing import TYPE_CHECKING

import numpy as np
import scipy.special

from drifting.evaluation import metric, ordering
from drifting.evaluation.metric import Metric, Need

if TYPE_CHECKING:
    from drifting.evaluation.comparison import Comparison

SPLITS = 10


def inception_score(logits: np.ndarray, splits: int = SPLITS, seed: int = 0) -> tuple[float, float]:
    """exp E_x KL(p(y|x) || p(y)): mean and standard deviation over splits.

    Split i of the shuffled N samples is i N // splits to (i + 1) N // splits, as in torch-fidelity.

    Args:
      logits: [N, K]; their order has no influence.
      seed: for the shuffle.

    Raises:
      ValueError: fewer vectors than splits.
    """
    if len(logits) < splits:
        raise ValueError(f"the Inception Score needs at least {splits} samples, got {len(logits)}")
    logits = np.asarray(logits, np.float64)
    log_p = scipy.special.log_softmax(logits[ordering.shuffled(logits, seed)], axis=1)
    limits = [i * len(log_p) // splits for i in range(splits + 1)]
    parts = [log_p[start:stop] for start, stop in itertools.pairwise(limits)]
    scores = [np.exp(_mean_divergence(part)) for part in parts]
    return float(np.mean(scores)), float(np.std(scores))


def _mean_divergence(log_p: np.ndarray) -> float:
    log_marginal = scipy.special.logsumexp(log_p, axis=0) - np.log(len(log_p))
    return float(np.mean(np.sum(np.exp(log_p) * (log_p - log_marginal), axis=1)))


def _columns(comparison: "Comparison") -> dict[str, float]:
    mean, deviation = inception_score(comparison.samples.logits, seed=comparison.seed)
    return {"inception_score": mean, "inception_score_std": deviation}


METRIC = Metric(
    "is",
    columns=("inception_score", "inception_score_std"),
    needs=Need.LOGITS,
    measure=_columns,
    words=metric.mean_and_deviation("inception_score", "inception_score_std"),
    least_samples=SPLITS,
    least_reference=1,
    of_images=True,
    place=30,
)
