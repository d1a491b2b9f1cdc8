"""Training methods by name; the only place that knows them all.

A method is a frozen dataclass with pure functions (see DESIGN in the README):

    init(key) -> TrainState
    train_step(state, data, key) -> (state, metrics)
    sample(state, key, labels, cfg_scale, ema) -> images [B, H, W, C] in [-1, 1]
    summaries(state, key) -> {name: images [rows, columns, H, W, C]}
    images_per_step, batch_size: ints, for rates and for the division over devices
    check_data(image_set): raises where a data set cannot serve the method

A new one is a file here, a line in METHODS and a config.
"""

import importlib
from typing import Any

from drifting.config import ConfigError

METHODS = {
    "drifting": ("drifting.methods.drifting", "Drifting"),
}


def create(config: Any, image_shape: tuple[int, int, int], num_classes: int) -> Any:
    """The method that `config.method.name` names, for images [H, W, C] of `num_classes` classes.

    Raises:
      ConfigError: no method has that name.
    """
    name = config.method.name
    if name not in METHODS:
        raise ConfigError(f"config.method.name = {name!r} is not one of {sorted(METHODS)}")
    module, attribute = METHODS[name]
    method = getattr(importlib.import_module(module), attribute)
    return method.from_config(config, image_shape, num_classes)
