"""Plans of classifiers: which runs a matrix has, and which are refused."""

import pathlib
import re
import subprocess
import sys

import pytest

from drifting import suites
from drifting.suites import SuiteError, read_plan

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_names_and_numbers_of_the_stages_are_stable(tmp_path):
    runs = read_plan(ROOT / "configs/suites/stage1.py", tmp_path).runs
    assert [runs[0].name, runs[-1].name] == [
        "cifar10-mobilenetv2-float32-seed0", "cifar100-resnet50-float32-seed2",
    ]  # fmt: skip
    more = read_plan(ROOT / "configs/suites/stage2.py", tmp_path).runs
    assert [len(runs), len(more)] == [12, 90]
    assert more[-1].name == "tiny_imagenet-convnext_tiny-bfloat16-seed4"
    assert len({run.name for run in more}) == 90
    assert {run.name for run in runs} < {run.name for run in more}


@pytest.mark.parametrize(
    "changed,message",
    [
        ({"precision": ["float32"]}, "unexpected keyword argument 'precision'"),
        ({"seeds": []}, "'seeds' is empty"),
        ({"seeds": [0, 1, 0]}, "'seeds' holds 0 twice"),
        ({"seeds": ["0"]}, "'seeds' holds '0', not a whole number"),
        ({"models": "resnet50"}, "'models' is a str, not a list"),
        ({"models": ["a-b"]}, "'models' holds 'a-b': use letters"),
        ({"configs": {}}, "'configs' is empty"),
        ({"configs": {"a": "configs/digits.py", "b": "configs/digits.py"}}, "twice"),
        ({"overrides": {"seed": 3}}, "'overrides' sets seed, which is an axis; use seeds instead"),
        ({"configs": {"a": "configs/digit.py"}}, "'configs/digit.py:small', which does not exist"),
        ({"configs": {"a": 3}}, "is '3:small', which does not exist"),
    ],
)
def test_bad_matrices_are_refused(write_matrix, tmp_path, changed, message):
    with pytest.raises(SuiteError, match=re.escape(message)):
        suites.run(write_matrix(**changed), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_runs_without_labels_have_no_accuracy_table(tmp_path):
    path = tmp_path / "toy_suite.py"
    path.write_text(
        "from drifting.suites import RunSpec, Suite\n"
        "def get_suite(): return Suite([RunSpec('a', 'configs/digits.py')], 'accuracy')\n"
    )
    with pytest.raises(SuiteError, match="'a' has no label 'data_set'; create it with matrix"):
        read_plan(path, tmp_path)


def test_the_script_says_mistakes_in_one_line(tmp_path, write_matrix):
    command = [sys.executable, ROOT / "scripts/run_suite.py", "--out", tmp_path / "out"]
    done = subprocess.run(
        [*command, write_matrix(seeds=[])], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 2
    assert re.fullmatch("error: .*toy_suite.py: 'seeds' is empty\n", done.stderr)
    done = subprocess.run([*command, write_matrix(), "--dry_run"], capture_output=True, text=True)
    assert done.returncode == 0 and "8 runs, 0 finished" in done.stdout


def test_classifiers_are_compared_without_jax():
    program = (
        "import sys; from drifting import suites\n"
        "suites.read_plan('configs/suites/stage1.py', 'out'); assert 'jax' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)
