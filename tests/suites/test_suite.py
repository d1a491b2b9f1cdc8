"""Suite files: what is valid, and the order of the runs."""

import json
import pathlib
import re
import sys
import textwrap

import pytest

from drifting import suites
from drifting.suites import RunSpec, Suite, SuiteError, read_plan, runner
from drifting.suites.tables import Programs

ROOT = pathlib.Path(__file__).resolve().parents[2]
DIGITS = "configs/digits.py"


def test_the_example_of_the_documentation_is_a_suite(tmp_path):
    text = (ROOT / "docs" / "suites.md").read_text()
    (example,) = re.findall(r"(    from drifting.suites import (?:.+\n|\n(?=    ))+)", text)
    (tmp_path / "suite.py").write_text(textwrap.dedent(example))
    for nano in (False, True):
        plan = read_plan(tmp_path / "suite.py", tmp_path, nano)
        assert [run.name for run in plan.runs] == ["encoder", "kernel", "learned"]
        assert len(plan.runs[0].overrides) == nano


@pytest.mark.parametrize(
    "text,message",
    [
        ("def get_suite(): return 3", "get_suite() returns a int, not a Suite"),
        ("suite = {}", "it defines no get_suite()"),
        ("def get_suite(): return {}['models']", "KeyError: 'models'"),
        ("def get_suite(:", "SyntaxError"),
        (
            "from drifting.suites import matrix\ndef get_suite(): return matrix(models=['a'])",
            "TypeError: matrix() missing 3 required positional arguments: 'configs'",
        ),
    ],
)
def test_files_that_hold_no_suite_are_refused(tmp_path, text, message):
    path = tmp_path / "bad.py"
    path.write_text(text)
    with pytest.raises(SuiteError, match=re.escape(f"bad.py: {message}")):
        read_plan(path, tmp_path)
    with pytest.raises(SuiteError, match="bed.py: there is no such file; did you mean '.*bad.py'"):
        read_plan(tmp_path / "bed.py", tmp_path)


@pytest.mark.parametrize(
    "runs,message",
    [
        ([{"name": "a"}], "'runs' holds a dict, not a RunSpec"),
        (3, "'runs' has to be a list of at least one RunSpec"),
        ([RunSpec("a", DIGITS), RunSpec("a", DIGITS)], "two runs are called 'a'"),
        ([RunSpec("a", DIGITS, in_table=False)], "no run is in the table"),
        ([RunSpec("a", DIGITS, after="b")], "'after' of 'a' is a str; write after=('b',)"),
        (
            [RunSpec("encoder", DIGITS), RunSpec("a", DIGITS, after=["encodr"])],
            "'a' waits for 'encodr', which is not a run before it in the suite; did you mean 'enc",
        ),
        (
            [RunSpec("encoder", DIGITS), RunSpec("a", DIGITS, {"method.encoder": "{encoder}"})],
            "'a' uses the workdir {encoder}, but 'after' does not name that run",
        ),
    ],
)
def test_runs_that_do_not_fit_together_are_refused(runs, message):
    with pytest.raises(SuiteError, match=re.escape(message)):
        Suite(runs, "scores")


def test_a_run_or_table_that_cannot_be_is_refused():
    with pytest.raises(SuiteError, match="the overrides of 'a' are a str, not a dict"):
        RunSpec("a", DIGITS, "seed=3")
    with pytest.raises(SuiteError, match="unknown table 'fid'; choose one of accuracy, scores"):
        Suite([RunSpec("a", DIGITS)], "fid")
    with pytest.raises(SuiteError, match="'a' is trained by torch, which trains only classifiers"):
        Suite([RunSpec("a", DIGITS, framework="torch")], "scores")


SUITE = """
from drifting.suites import RunSpec, Suite

def get_suite(budget="full"):
    labels = dict(data_set="digits", model="m", precision="float32", seed=0)
    make = lambda name, overrides, *after: RunSpec(
        name, "configs/digits.py", overrides, after, labels
    )
    return Suite([
        make("first", dict(budget=budget)),
        make("second", dict(source="from:{first}"), "first"),
        make("third", dict(source="{first}:{second}"), "first", "second"),
        make("other", dict()),
    ], "accuracy")
"""
TRAIN = """
import json, pathlib, sys
workdir, toy = pathlib.Path(sys.argv[4]), pathlib.Path(sys.argv[0]).parent
with open(toy / "starts", "a") as file:
    file.write(workdir.name + " ")
if (toy / f"{workdir.name}.fail").exists():
    sys.exit("error: no such thing")
workdir.mkdir()
keys = "accuracy val_accuracy macro_f1 loss epoch_seconds parameters step".split()
(workdir / "test.json").write_text(json.dumps(dict.fromkeys(keys, 0.5)))
"""


def test_a_run_waits_for_those_that_it_needs(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "POLL_SECONDS", 0.01)
    (tmp_path / "suite.py").write_text(SUITE)
    (tmp_path / "train.py").write_text(TRAIN)
    programs = Programs(train=[sys.executable, "-SE", str(tmp_path / "train.py")])
    starts, out = tmp_path / "starts", tmp_path / "out"

    def call(jobs):
        starts.write_text("")
        code = suites.run(tmp_path / "suite.py", out, True, jobs=jobs, programs=programs)
        return code, starts.read_text().split()

    (tmp_path / "first.fail").touch()
    assert call(jobs=1) == (1, ["first", "other"])
    (tmp_path / "first.fail").unlink()
    assert call(jobs=4) == (0, ["first", "second", "third"])
    settings = json.loads((out / "settings.json").read_text())
    assert settings["first"] == [DIGITS, "budget=nano"]
    assert settings["third"][1] == f"source={out / 'first'}:{out / 'second'}"
