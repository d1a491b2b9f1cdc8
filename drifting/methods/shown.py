"""The picture of samples that every generator shows during training."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from drifting.core.method import Generator, Grid, Scatter
from drifting.core.state import TrainState
from input_pipeline.data import Data
from input_pipeline.space import Points

ROWS, COLUMNS = 8, 10
MOST_POINTS = 2000


def samples(
    method: Generator,
    state: TrainState,
    key: jax.Array,
    data: Data,
    frozen: Mapping[str, Any],
    conditional: bool = True,
) -> dict[str, Grid | Scatter]:
    """A grid with one column per class (at most ten), or points drawn over data.

    Args:
      conditional: whether samples depend on labels; if not, ten columns of any samples.
    """
    key_noise, key_data = jax.random.split(key)
    if isinstance(method.space, Points):
        real, labels = data.draw(key_data, min(MOST_POINTS, data.num_rows))
        return {"points": Scatter(method.sample(state, key_noise, labels), real)}
    columns = min(method.num_classes, COLUMNS) if conditional else COLUMNS
    labels = jnp.tile(jnp.arange(columns, dtype=jnp.int32), ROWS)
    shown = method.space.to_picture(method.sample(state, key_noise, labels), frozen)
    return {"samples": Grid(shown.reshape(ROWS, columns, *shown.shape[1:]))}  # [8, 10, H, W, C]
