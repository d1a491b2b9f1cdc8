"""Which configs the PyTorch loop can train; the others are refused rather than half obeyed."""

from typing import Any

from drifting.core.errors import ConfigError
from input_pipeline.image_set import ImageSet
from input_pipeline.space import Pixels

# The only value of each key that is implemented.
ONLY = {
    "method.name": "classifier",
    "method.micro_batches": 1,
    "model.norm": "batch",
    "optimizer.name": "sgd",
    "ema_decay": 0.0,
    "data.streaming": False,
    "train.evaluate": False,
    "train.keep_every_steps": 0,
}


def require_supported(flat: dict[str, Any]) -> None:
    """Raises ConfigError for a config, by dotted key, that asks for what is not implemented."""
    for key, value in ONLY.items():
        if key in flat and flat[key] != value:
            raise ConfigError(
                f"config.{key} = {flat[key]!r}: scripts/reference_torch implements only {value!r}; "
                "set that, or train it with train.py"
            )


def require_images(data: ImageSet) -> None:
    """Raises ConfigError unless the data are 8-bit images."""
    if not isinstance(data.space, Pixels):
        raise ConfigError(
            f"config.data.source = {data.source!r} holds {data.space.noun}: "
            "scripts/reference_torch trains only on images; train it with train.py"
        )
