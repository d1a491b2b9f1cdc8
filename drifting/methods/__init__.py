"""Training methods by name. This is the only list of them; core/method.py defines what one is."""

from collections.abc import Mapping
from typing import Any

from drifting.core import config as config_lib
from drifting.core.errors import one_of
from drifting.core.facts import DataFacts
from drifting.core.method import Method
from drifting.core.networks import Encoder

METHODS = {
    "drifting": "drifting.methods.drifting.method:Drifting",
    "classifier": "drifting.methods.classifier:Classifier",
    "mae": "drifting.methods.mae:MaskedAutoencoding",
    "autoencoder": "drifting.methods.autoencoder.method:Autoencoder",
    "cut": "drifting.methods.cut.method:CUT",
    "meanflow": "drifting.methods.meanflow.method:MeanFlow",
}


def find(name: str) -> type[Method]:
    """The class of the method `name`; ConfigError, which suggests the nearest name, if unknown."""
    return config_lib.find(METHODS[one_of("method.name", name, METHODS)])


def create(config: Any, facts: DataFacts, frozen: Mapping[str, Encoder] | None = None) -> Method:
    """The method of a config; see `Method.from_config` for arguments and errors."""
    return find(config.method.name).from_config(config, facts, frozen)
