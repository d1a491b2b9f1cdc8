"""Plans of classifiers: which runs a matrix has, and which are refused."""

import pathlib
import re
import subprocess
import sys

import pytest

from drifting import suites
from drifting.suites import SuiteError, read_plan
from drifting.suites.tables import Programs

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_names_and_numbers_of_the_stages_are_stable(tmp_path):
    runs = read_plan(ROOT / "configs/suites/stage1.py", tmp_path).runs
    assert [runs[0].name, runs[1].name, runs[-1].name] == [
        "cifar10-mobilenetv2-float32-seed42", "cifar10-mobilenetv2-float32-seed42-torch",
        "cifar100-resnet50-float32-seed456-torch",
    ]  # fmt: skip
    more = read_plan(ROOT / "configs/suites/stage2.py", tmp_path).runs
    assert [len(runs), len(more)] == [24, 180]
    assert more[-1].name == "tiny_imagenet-convnext_tiny-bfloat16-seed1024-torch"
    assert len({run.name for run in more}) == 180
    assert {run.name for run in runs} < {run.name for run in more}
    assert [run.framework for run in more] == ["jax", "torch"] * 90
    digits = read_plan(ROOT / "configs/suites/digits_frameworks.py", tmp_path).runs
    assert len(digits) == 8


def test_a_matrix_of_one_framework_is_that_of_jax(write_matrix, tmp_path):
    plan = read_plan(write_matrix(models=["small"], seeds=[0]), tmp_path)
    names = ["first-small-float32-seed0", "second-small-float32-seed0"]
    assert [run.name for run in plan.runs] == names
    assert {run.framework for run in plan.runs} == {"jax"}
    assert plan.runs[0].settings == ["configs/digits.py:small", "precision=float32", "seed=0"]
    assert "framework" not in plan.table.columns


def test_each_framework_has_its_program(write_matrix, tmp_path):
    both = read_plan(write_matrix(models=["small"], frameworks=["jax", "torch"]), tmp_path)
    ours, theirs = both.runs[:2]
    assert theirs.name == f"{ours.name}-torch"
    assert theirs.settings == [*ours.settings, "framework=torch"]
    (train,), (train_torch,) = (both.table.commands(run, Programs()) for run in (ours, theirs))
    assert [train[1], train_torch[1]] == ["train.py", "scripts/reference_torch/train.py"]
    assert (ROOT / train_torch[1]).is_file()
    workdir = train.index("--workdir") + 1
    assert train[2:workdir] == train_torch[2:workdir]
    assert train[workdir + 1 :] == train_torch[workdir + 1 :]
    assert train_torch[workdir] == str(tmp_path / theirs.name)


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
        ({"frameworks": ["jax", "jax"]}, "'frameworks' holds 'jax' twice"),
        ({"frameworks": ["numpy"]}, "is 'numpy'; choose one of jax, torch"),
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
