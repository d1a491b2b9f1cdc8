"""Suites of classifiers: runs are started, resumed or skipped, and tabulated (toy programs)."""

import csv
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from matrix_suite import values

from drifting import pictures, suites
from drifting.suites import SuiteError, accuracy, folder, processes, runner
from drifting.suites.tables import Programs

ROOT = pathlib.Path(__file__).resolve().parents[2]
# A run of three steps that behaves like train.py. TOY_FOLDER records its starts, and a file
# <run>.<kill|fail|wait> there controls what happens to it.
TOY = """
import json, os, pathlib, re, signal, sys, time
given = dict(re.fullmatch("--(.+?)=(.+)", a).groups() for a in sys.argv[5:])
data_set, model = pathlib.Path(sys.argv[2]).name.split(".py:")
workdir, toy = pathlib.Path(sys.argv[4]), pathlib.Path(os.environ["TOY_FOLDER"])
signal.signal(signal.SIGTERM, lambda *_: (save(step), sys.exit(143)))
meets = lambda what: (toy / f"{workdir.name}.{what}").exists()

def save(step):
    folder = workdir / "checkpoints" / str(step)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text("{}")

begin = max([int(p.name) for p in workdir.glob("checkpoints/*")], default=0)
gpu = os.environ.get("CUDA_VISIBLE_DEVICES", "")
with open(toy / "starts", "a") as file:
    file.write(f"{workdir.name} {begin} {os.getpid()} {gpu}\\n")
if gpu:
    open(toy / f"gpu{gpu}", "x").close()  # fails if another run uses it
if begin == 0 and workdir.exists() and any(workdir.iterdir()):
    sys.exit("the folder holds files but no checkpoint")
workdir.mkdir(exist_ok=True)
(workdir / "config.json").write_text("{}")
print("started")
if meets("fail"):
    sys.exit("error: first line\\nerror: no such data set")
for step in range(begin + 1, 4):
    save(step)
    if meets("kill"):
        os.kill(os.getpid(), signal.SIGKILL)
    while meets("wait"):
        time.sleep(0.01)
accuracy = 0.5 + 0.01 * int(given["config.seed"]) ** 2 + 0.02 * len(model) + 0.001 * len(data_set)
result = dict(accuracy=accuracy, macro_f1=accuracy / 2, loss=1.5, step=step, num_images=10,
              parameters=7, epoch_seconds=2.0 + int(given["config.seed"]), val_accuracy=accuracy)
if gpu:
    (toy / f"gpu{gpu}").unlink()
(workdir / "test.json").write_text(json.dumps(result))
"""
NAMES = [
    f"{data_set}-{model}-float32-seed{seed}"
    for data_set in ("first", "second") for model in ("small", "large18") for seed in (0, 3)
]  # fmt: skip


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """The folder of toy runs with their `train.py`. Pictures are not drawn, which is slow."""
    monkeypatch.setenv("TOY_FOLDER", str(tmp_path))
    (tmp_path / "train.py").write_text(TOY)
    monkeypatch.setattr(runner, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(pictures, "plot_spread", lambda *_: None)
    return tmp_path


@pytest.fixture
def call(toy, write_matrix):
    """call(jobs, **changed) -> (exit code, {name: first step} of all starts)."""

    def run(jobs=2, **changed):
        (toy / "starts").write_text("")
        programs = Programs(train=[sys.executable, str(toy / "train.py")])
        code = suites.run(write_matrix(**changed), toy / "out", jobs=jobs, programs=programs)
        return code, {row[0]: int(row[1]) for row in starts(toy)}

    return run


def starts(toy):
    """[name, first step, process id, GPU if any] of each start."""
    return [line.split() for line in (toy / "starts").read_text().splitlines()]


def read_csv(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def table(toy):
    return {row["name"]: row for row in read_csv(toy / "out" / "matrix.csv")}


def accuracy_of(config, model, seed):
    return 0.5 + 0.01 * seed**2 + 0.02 * len(model) + 0.001 * len(config)


def test_checkpoints_of_finished_classifiers_are_removed_if_asked(toy, write_matrix):
    path = write_matrix(models=["small"], seeds=[0])
    programs = Programs(train=[sys.executable, str(toy / "train.py")])
    for remove, left in ((False, 2), (True, 0), (False, 0)):
        assert suites.run(path, toy / "out", programs=programs, remove_checkpoints=remove) == 0
        assert len(list((toy / "out").glob("*/checkpoints"))) == left
    assert len((toy / "starts").read_text().splitlines()) == 2


def test_a_second_call_does_only_what_is_missing(toy, call):
    killed, failing, finished = NAMES[1], NAMES[6], NAMES[0]
    (toy / f"{killed}.kill").touch()
    (toy / f"{failing}.fail").touch()
    code, began = call()
    assert code == 1 and began == dict.fromkeys(NAMES, 0)
    rows = table(toy)
    assert list(rows) == NAMES
    assert {n for n, row in rows.items() if row["status"] == "finished"} == (
        set(NAMES) - {killed, failing}
    )
    assert rows[failing]["status"] == "failed" and rows[failing]["exit_code"] == "1"
    assert rows[failing]["error"] == "error: no such data set"
    assert rows[killed]["status"] == "failed" and rows[killed]["exit_code"] == "-9"
    assert rows[killed]["error"] == "SIGKILL: started"
    assert f"- {failing}: failed (exit code 1) error: no such data set" in (
        (toy / "out" / "summary.md").read_text()
    )
    assert "error: first line" in (toy / "out" / "logs" / f"{failing}.log").read_text()

    (toy / f"{killed}.kill").unlink()
    (toy / f"{failing}.fail").unlink()
    code, began = call()
    assert code == 0 and began == {killed: 1, failing: 0}
    assert (toy / "out" / f"{failing}.broken-1" / "config.json").exists()
    assert {row["status"] for row in table(toy).values()} == {"finished"}
    assert table(toy)[finished] == rows[finished]
    assert call() == (0, {})


def test_the_tables_hold_the_results_and_their_statistics(toy, call, monkeypatch):
    drawn = []
    monkeypatch.setattr(pictures, "plot_spread", lambda *given: drawn.append(given))
    assert call()[0] == 0
    for name, row in table(toy).items():
        config = {"first": "digits", "second": "mnist"}[row["data_set"]]
        expected = accuracy_of(config, row["model"], int(row["seed"]))
        assert float(row["accuracy"]) == float(row["val_accuracy"]) == pytest.approx(expected)
        assert float(row["macro_f1"]) == pytest.approx(expected / 2)
        numbers = [float(row[k]) for k in ("loss", "parameters", "step", "exit_code")]
        assert numbers == [1.5, 7, 3, 0]
        assert row["workdir"] == str(toy / "out" / name)
    summary = read_csv(toy / "out" / "summary.csv")
    keys = [(row["data_set"], row["model"], row["precision"], row["n"]) for row in summary]
    assert keys == [(d, m, "float32", "2") for d in ("first", "second") for m in values()["models"]]
    accuracies = np.array([accuracy_of("mnist", "small", seed) for seed in (0, 3)])
    row = summary[2]
    for key, found in (("accuracy", accuracies), ("macro_f1", accuracies / 2)):
        expected = [found.mean(), found.std(ddof=1), found.min(), found.max()]
        parts = [float(row[f"{key}_{part}"]) for part in ("mean", "std", "min", "max")]
        np.testing.assert_allclose(parts, expected)
    assert float(row["epoch_seconds_mean"]) == 3.5  # of 2 and 5
    assert "| second | small | float32 | 2 | 65.00 ± 6.36 (60.50 to 69.50) |" in (
        (toy / "out" / "summary.md").read_text()
    )
    panels, path, _ = drawn[-1]
    np.testing.assert_allclose(panels["second"]["float32"]["small"], 100 * accuracies)
    assert len(drawn) == len(NAMES) and path == toy / "out" / "matrix.png"


def test_frameworks_are_compared_in_one_table(toy, write_matrix, monkeypatch):
    drawn = []
    monkeypatch.setattr(pictures, "plot_spread", lambda *given: drawn.append(given))
    (toy / "torch.py").write_text(TOY.replace("accuracy=accuracy, macro", "accuracy=0.25, macro"))
    programs = Programs(*([sys.executable, str(toy / f"{name}.py")]
                          for name in ("train", "evaluate", "torch")))  # fmt: skip
    path = write_matrix(models=["small"], frameworks=["jax", "torch"])
    assert suites.run(path, toy / "out", jobs=2, programs=programs) == 0
    rows = table(toy)
    assert rows["second-small-float32-seed3"]["framework"] == "jax"
    assert rows["second-small-float32-seed3-torch"]["framework"] == "torch"
    summary = read_csv(toy / "out" / "summary.csv")
    keys = [tuple(row[k] for k in ("data_set", "framework", "n")) for row in summary]
    assert keys == [(d, f, "2") for d in ("first", "second") for f in ("jax", "torch")]
    assert [row["accuracy_mean"] for row in summary if row["framework"] == "torch"] == ["0.25"] * 2
    text = (toy / "out" / "summary.md").read_text()
    assert "| data set | model | precision | framework | runs | test accuracy, % |" in text
    assert "| second | small | float32 | torch | 2 | 25.00 ± 0.00 (25.00 to 25.00) |" in text
    panels = drawn[-1][0]
    assert panels["first"].keys() == {"float32, jax", "float32, torch"}
    assert panels["first"]["float32, torch"]["small"] == [25.0, 25.0]
    assert suites.run(path, toy / "out", programs=programs) == 0
    assert len((toy / "starts").read_text().splitlines()) == 8


def test_a_folder_of_one_framework_goes_on_with_two(toy, call, write_matrix):
    assert call(models=["small"])[0] == 0
    assert "framework" not in read_csv(toy / "out" / "matrix.csv")[0]
    programs = Programs(*[[sys.executable, str(toy / "train.py")]] * 3)
    path = write_matrix(models=["small"], frameworks=["jax", "torch"])
    (toy / "starts").write_text("")
    assert suites.run(path, toy / "out", jobs=2, programs=programs) == 0
    assert all(row[0].endswith("-torch") for row in starts(toy)) and len(starts(toy)) == 4


def test_one_seed_has_no_deviation(toy, call):
    assert call(models=["small"], seeds=[3])[0] == 0
    assert [row["accuracy_std"] for row in read_csv(toy / "out" / "summary.csv")] == ["", ""]


@pytest.fixture
def start(toy, write_matrix):
    """start(name) -> a process of the suite (one job) that has started the run `name`."""
    started = []

    def run(name):
        (toy / f"{name}.wait").touch()
        program = (
            "import sys; from drifting import suites; from drifting.suites.tables import Programs\n"
            f"programs = Programs(train=[sys.executable, {str(toy / 'train.py')!r}])\n"
            f"sys.exit(suites.run({str(write_matrix())!r}, {str(toy / 'out')!r}, jobs=1,"
            " programs=programs))"
        )
        process = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT)
        started.append(process)
        wait_until(lambda: (toy / "out" / name / "checkpoints" / "1").exists())
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()
    for name in NAMES:
        (toy / f"{name}.wait").unlink(missing_ok=True)  # what was left behind ends by itself


def wait_until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


@pytest.mark.parametrize(
    "number,code",
    [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)],
)
def test_a_signal_stops_the_runs_and_leaves_a_true_table(toy, call, start, number, code):
    process = start(NAMES[2])
    process.send_signal(number)
    assert process.wait(20) == code
    rows = table(toy)
    assert rows[NAMES[0]]["status"] == "finished"
    assert rows[NAMES[2]]["status"] == "stopped" and rows[NAMES[2]]["exit_code"] == "143"
    assert (toy / "out" / "matrix.png").stat().st_size > 1000
    others = [rows[name]["status"] for name in NAMES if name not in (NAMES[0], NAMES[2])]
    assert others == ["missing"] * 6
    with pytest.raises(ProcessLookupError):
        os.kill(int(starts(toy)[-1][2]), 0)
    (toy / f"{NAMES[2]}.wait").unlink()
    code, began = call()
    assert code == 0 and began == dict.fromkeys(NAMES[1:], 0) | {NAMES[2]: 1}


def test_a_killed_session_leaves_a_true_table_and_no_second_run_in_a_folder(toy, call, start):
    process = start(NAMES[2])
    with pytest.raises(SuiteError, match=f"in use by process {process.pid}"):
        call()
    process.kill()
    process.wait()
    statuses = {name: row["status"] for name, row in table(toy).items()}
    assert statuses == dict.fromkeys(NAMES, "missing") | {NAMES[0]: "finished"}
    with pytest.raises(SuiteError, match="by runs that it left behind"):
        call(models=["small"])
    (toy / f"{NAMES[2]}.wait").unlink()  # now the run that was left behind can finish
    wait_until((toy / "out" / NAMES[2] / "test.json").exists)
    wait_until(lambda: free(toy / "out"))
    code, began = call()
    assert code == 0 and set(began) == set(NAMES) - {NAMES[0], NAMES[2]}


def free(out):
    try:
        with folder.locked(out):
            return True
    except SuiteError:
        return False


def test_each_gpu_has_one_run_at_a_time(toy, call, monkeypatch):
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    assert call(jobs=None)[0] == 0
    gpus = [row[3] for row in starts(toy)]
    assert len(gpus) == 8 and set(gpus) == {"4", "7"}
    assert call(jobs=1, seeds=[5])[0] == 0
    assert {row[3] for row in starts(toy)} == {"4"}
    with pytest.raises(SuiteError, match="2 can be seen"):
        call(jobs=3)


def test_gpus_are_those_that_the_driver_lists(tmp_path, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'GPU 0: X'\necho '  MIG 1g.10gb'\necho 'GPU 1: X'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert processes.visible_gpus() == []
    monkeypatch.delenv("JAX_PLATFORMS")
    assert processes.visible_gpus() == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert processes.visible_gpus() == []


def test_a_dry_run_only_tells(toy, write_matrix, capsys):
    out = toy / "out"
    for name, file in ((NAMES[0], "test.json"), (NAMES[1], "checkpoints/2/manifest.json"),
                       (NAMES[2], "config.json")):  # fmt: skip
        path = out / name / file
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(dict.fromkeys(accuracy.RESULTS, 1.0)))
    before = sorted(toy.rglob("*"))
    path = write_matrix()
    assert suites.run(path, out, jobs=2, dry_run=True) == 0
    assert sorted(toy.rglob("*")) == sorted({*before, path})
    lines = capsys.readouterr().out.splitlines()
    shown = [line.partition(":")[0].split() for line in lines[:-1]]
    actions = ["skip", "resume", "restart", *["start"] * 5]
    assert shown == [list(pair) for pair in zip(actions, NAMES, strict=True)]
    assert lines[0].endswith(NAMES[0])  # nothing to run
    assert lines[1].endswith(
        f"train.py --config configs/digits.py:small --workdir {out / NAMES[1]} "
        "--config.precision=float32 --config.seed=3"
    )
    assert lines[-1] == "8 runs, 1 finished, 7 to do, 2 at a time on CPUs"


def test_overrides_reach_the_runs_and_cannot_change_under_them(toy, call):
    epochs = {"train.total_epochs": 30}
    one = dict(configs={"first": "configs/digits.py"}, models=["small"], seeds=[0])
    assert call(**one, overrides=epochs)[0] == 0
    log = toy / "out" / "logs" / "first-small-float32-seed0.log"
    assert "--config.train.total_epochs=30" in log.read_text()
    with pytest.raises(SuiteError, match=r"total_epochs=30, now .*=40; set these back"):
        call(**one, overrides={"train.total_epochs": 40})
    code, began = call(**one | {"seeds": [0, 1]}, overrides=epochs)  # more runs are no change
    assert code == 0 and list(began) == ["first-small-float32-seed1"]
