"""Training methods by name; the only place that knows them all.

A method is a frozen dataclass with pure functions (see DESIGN in the README):

    init(key) -> TrainState
    train_step(state, data, key, frozen) -> (state, metrics); `data` is a resident data set, or a
        streaming.Batch where the method `streams`; `frozen` are the parameters of
        networks that are not trained (an encoder's), None where there are none
    summaries(state, key, data) -> {name: images [rows, columns, H, W, C], or points [2, N, 2],
        samples and data}
    images_per_step, batch_size: ints, for rates and for the division over devices
    parts: rows of each part of a batch that devices divide apart; (batch_size,) if not there
    streams: whether it trains on a stream, and stream_batch, the rows of its batches (batch_size
        if not there)
    check_data(image_set): raises where a data set cannot serve the method

    replaceable: names of networks that a run may start afresh where a checkpoint lacks them,
        and that are left out where they are not used; none where a method does not say

A generator also has

    sample(state, key, labels, cfg_scale, ema) -> images [B, H, W, C] in [-1, 1], or points [B, D]
    nfe(cfg_scale) -> network evaluations a sample
    sampler_name and with_sampler(name, steps), where it can be sampled in several ways

and may have numbers that say how a run goes, for the metrics

    diagnostics(state, key, data) -> {name: scalar}

and what can be scored on held-out images has

    tally(state, images, labels, weight, key) -> sums over a batch; weight 0 is padding
    scores(sums) -> {name: float}
    best_score: the name of the score, as `val_<name>`, whose largest value marks the best
        checkpoint; None where there is none

and what can serve as an encoder has

    encoder(state) -> parameters, all that `encode` needs
    encode(parameters, images) -> models.activations.Activations

A new one is a file here, a line in METHODS and a config.
"""

import dataclasses
import importlib
from typing import Any

from drifting.core.errors import one_of

METHODS = {
    "drifting": ("drifting.methods.drifting", "Drifting"),
    "classifier": ("drifting.methods.classifier", "Classifier"),
    "mae": ("drifting.methods.mae", "MaskedAutoencoding"),
    "meanflow": ("drifting.methods.meanflow", "MeanFlow"),
}


@dataclasses.dataclass(frozen=True)
class DataFacts:
    """What a method must know of its training data before it sees any.

    Attributes:
      image_shape: [H, W, C], or [D] of points.
      num_classes, num_images: of the part that is trained on.
      mean, std: of each channel, over pixels in [-1, 1].
    """

    image_shape: tuple[int, ...]
    num_classes: int
    num_images: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


def create(config: Any, facts: DataFacts, **given: Any) -> Any:
    """The method that `config.method.name` names.

    Args:
      given: what else its from_config takes, such as an encoder's feature function.

    Raises:
      ConfigError: no method has that name, or a value of the config cannot be.
    """
    module, attribute = METHODS[one_of("method.name", config.method.name, METHODS)]
    method = getattr(importlib.import_module(module), attribute)
    return method.from_config(config, facts, **given)
