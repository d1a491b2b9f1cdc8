"""The result that training leaves in the folder of a classifier."""

import json
import pathlib
from typing import Any

# What a run's test.json has to hold to count as a result, in the order of the table.
RESULTS = ("accuracy", "val_accuracy", "macro_f1", "loss", "epoch_seconds", "parameters", "step")


def read_result(workdir: pathlib.Path) -> dict[str, Any] | None:
    """The numbers of RESULTS in a run's test.json; None where it is not finished."""
    try:
        values = json.loads((workdir / "test.json").read_text())
        result = {key: values[key] for key in RESULTS}
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return result if all(isinstance(v, int | float) for v in result.values()) else None
