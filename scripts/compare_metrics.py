"""Compares our metrics with those of torch-fidelity, torchmetrics and prdc, and prints JSON.

    pip install -e '.[torch]'
    python scripts/compare_metrics.py

The formulas alone are compared, on the same features: arrays from a fixed seed, no network and no
images. Each result is {case: {metric: {package: value}}}. Random choices (the subsets of KID, the
shuffle of the Inception Score) are made the same where the packages allow that.
"""

import contextlib
import io
import json
import sys

import numpy as np
import torch
from prdc import compute_prdc
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kernel_mmd, kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric
from torchmetrics.image.fid import _compute_fid
from torchmetrics.image.kid import poly_mmd
from torchmetrics.image.mifid import _mifid_compute

from drifting.evaluation import ordering
from drifting.evaluation.metrics import frechet, inception_score, kid, manifold, memorization
from drifting.evaluation.moments import Moments

COUNT, DIMENSION = 2000, 64
SPLIT_COUNT = 2003  # samples of the Inception Score, not a multiple of its ten splits
CLASSES = 10


def cases():
    """Features (real, fake), float32 [N, 64], by name."""
    generator = np.random.default_rng(0)
    scales = np.exp(-np.arange(DIMENSION) / 32)
    real = (np.abs(generator.normal(size=(COUNT, DIMENSION))) * scales).astype(np.float32)
    other = (np.abs(generator.normal(size=(COUNT, DIMENSION))) * scales * 1.1).astype(np.float32)
    some = real[generator.choice(COUNT, COUNT // 2, replace=False)]
    return {
        "two distributions": (real, other),
        "the same, offset by 100": (real + 100, other + 100),
        "copies of a half": (real, some),
        "copies of all": (real, real[::-1].copy()),
    }


def measure(real, fake):
    """{metric: {package: value}} of one case."""
    real64, fake64 = real.astype(np.float64), fake.astype(np.float64)
    pair, pair64 = [tuple(map(torch.from_numpy, p)) for p in ((real, fake), (real64, fake64))]
    moments = [Moments(len(x), x.mean(0), np.cov(x, rowvar=False)) for x in (real64, fake64)]
    tensors = [[torch.from_numpy(a) for a in (m.mean, m.covariance)] for m in moments]
    fid = frechet.frechet_distance(*moments)
    distance = memorization.memorization_distance(real, fake)
    statistics = map(fid_features_to_statistics, pair64)
    size = min(len(real), len(fake))
    theirs = kid_features_to_metric(*pair64, kid_subset_size=1000, verbose=False)
    mean, deviation = kid.kernel_distance(real, fake, seed=0)
    ours = manifold.compare(real, fake).scores()
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its arguments
        reference = compute_prdc(real, fake, nearest_k=manifold.NEIGHBOURS)
    precision = prc_features_to_metric(
        pair[1], pair[0], prc_neighborhood=manifold.NEIGHBOURS, prc_batch_size=1000,
        save_cpu_ram=False, verbose=False,
    )  # fmt: skip
    torch_prc = {"precision": precision["precision"], "recall": precision["recall"]}
    return {
        "Frechet distance": {
            "ours": fid,
            "torch-fidelity": fid_statistics_to_metric(*statistics, verbose=False)[
                "frechet_inception_distance"
            ],
            "torchmetrics": _compute_fid(*tensors[0], *tensors[1]).item(),
        },
        "KID, one subset": {
            "ours": kid.squared_mmd(real[:size], fake[:size]),
            "torch-fidelity": float(kernel_mmd(real64[:size], fake64[:size])),
            "torchmetrics": poly_mmd(pair64[0][:size], pair64[1][:size]).item(),
            "torchmetrics, float32": poly_mmd(pair[0][:size], pair[1][:size]).item(),
        },
        "KID": {"ours": mean, "torch-fidelity": theirs["kernel_inception_distance_mean"]},
        "KID, deviation": {
            "ours": deviation,
            "torch-fidelity": theirs["kernel_inception_distance_std"],
        },
        "MiFID": {
            "ours": memorization.mifid(fid, distance),
            # The mean over samples, as in the paper; its class exchanges the sets.
            "torchmetrics": _mifid_compute(*tensors[1], pair64[1], *tensors[0], pair64[0]).item(),
        },
        **{
            name: {"ours": ours[name], "prdc": float(reference[name])}
            | ({"torch-fidelity": float(torch_prc[name])} if name in torch_prc else {})
            for name in ("precision", "recall", "density", "coverage")
        },
    }


def measure_inception_score():
    """The Inception Score of logits that are sorted by class, as a folder's files are."""
    generator = np.random.default_rng(1)
    logits = generator.normal(size=(SPLIT_COUNT, CLASSES)).astype(np.float32)
    logits[np.arange(SPLIT_COUNT), np.arange(SPLIT_COUNT) * CLASSES // SPLIT_COUNT] += 3.0
    mean, deviation = inception_score.inception_score(logits, seed=0)
    rows = torch.from_numpy(logits)
    same = isc_features_to_metric(rows[ordering.shuffled(logits, seed=0)], shuffle=False)
    own = isc_features_to_metric(rows)
    names = ("inception_score_mean", "inception_score_std")
    return {
        title: {
            "ours": value,
            "torch-fidelity": same[name],
            "torch-fidelity, its shuffle": own[name],
        }
        for title, value, name in zip(
            ("Inception Score", "Inception Score, deviation"), (mean, deviation), names, strict=True
        )
    }


def compare():
    """All results, as printed."""
    found = {name: measure(*pair) for name, pair in cases().items()}
    return found | {"logits sorted by class": measure_inception_score()}


if __name__ == "__main__":
    json.dump(compare(), sys.stdout, indent=2)
    print()
