"""The parts of a run, which are built from its config once."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
from ml_collections import ConfigDict

from drifting.core.facts import DataFacts
from drifting.core.method import Method
from drifting.core.networks import Decoder, Encoder
from drifting.training.schedule import Schedule
from input_pipeline.image_set import DataSet, ImageSet


@dataclasses.dataclass(frozen=True)
class Parts:
    """The parts of a run, as runs/build.py builds them from a config.

    Attributes:
      config: the resolved config, from which the other parts were built.
      whole: the training split.
      data: the part of it to train on.
      held_out: the part of it held out for validation, or None.
      facts: about `data`.
      frozen: networks that a step uses but does not train, by name.
    """

    config: ConfigDict
    whole: DataSet
    data: DataSet
    held_out: ImageSet | None
    facts: DataFacts
    method: Method
    frozen: Mapping[str, Encoder | Decoder]
    schedule: Schedule
    mesh: jax.sharding.Mesh

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of the frozen networks, by name: the `frozen` of a train step."""
        return {name: network.parameters for name, network in self.frozen.items()}
