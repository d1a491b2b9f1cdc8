"""A suite of small generators with configurable runs, budget and encoder."""

import pytest

BUDGET = {
    "eval.features": "pixels",
    "train.total_steps": 20,
    "train.checkpoint_steps": 10,
    "train.keep_every_steps": 10,
}
RUNS = {
    "kernel": ("configs/digits.py", {}),
    "ldf": ("configs/digits_ldf.py", {}),
    "frozen": ("configs/digits_ldf.py", {"field.objective": "frozen"}),
}
ENCODER = "configs/classifier_digits.py"
SUITE = """
from drifting.suites import RunSpec, Suite
RUNS, BUDGET, ENCODER = {runs!r}, {budget!r}, {encoder!r}

def get_suite():
    first = [RunSpec("encoder", ENCODER, in_table=False)] if ENCODER else []
    measure = dict([("eval.features", "encoder:{{encoder}}")]) if ENCODER else dict()
    return Suite(first + [
        RunSpec(name, config, BUDGET | overrides | measure, after=[run.name for run in first])
        for name, (config, overrides) in RUNS.items()
    ], table="scores")
"""


@pytest.fixture
def write(tmp_path):
    """write(runs, budget, encoder) -> path of a suite file."""

    def make(**changed):
        path = tmp_path / "toy_suite.py"
        given = {"runs": RUNS, "budget": BUDGET, "encoder": None, **changed}
        path.write_text(SUITE.format(**given))
        return path

    return make
