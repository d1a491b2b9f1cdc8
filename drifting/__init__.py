"""One-step image generators in JAX: fields, training methods, training and evaluation.

    import drifting

    config = drifting.of("meanflow", "dit")    # the default config, for you to change
    drifting.train(config, "runs/mine")
    drifting.evaluate("runs/mine", "all")
    images = drifting.load("runs/mine").sample(labels=range(10), seed=0)    # uint8 [10, H, W, C]

Everything is imported when it is first used; importing this package imports neither JAX nor
TensorFlow.
"""

import importlib
from typing import Any

_PLACES = {
    "UserError": "drifting.core.errors:UserError",
    "of": "drifting.core.config:of",
    "build": "drifting.runs.build:build",
    "train": "drifting.runs.train:train",
    "encode": "drifting.runs.encode:encode",
    "evaluate": "drifting.runs.evaluate:evaluate",
    "compare": "drifting.runs.evaluate:compare",
    "load": "drifting.runs.sample:load",
    "sample": "drifting.runs.sample:sample",
    "translate": "drifting.runs.translate:translate",
    "fields": "drifting.fields",
    "flows": "drifting.flows",
    "methods": "drifting.methods",
    "metrics": "drifting.evaluation.metrics",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _PLACES[name].partition(":")
    found = importlib.import_module(module)
    return vars(found)[attribute] if attribute else found


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES})
