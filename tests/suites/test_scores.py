"""Suites of generators: runs are started or skipped, and tabulated (mostly toy programs)."""

import csv
import json
import pathlib
import subprocess
import sys
import time

import one_block
import pytest
import small_runs
from score_suite import BUDGET, ENCODER, RUNS

from drifting import pictures, suites
from drifting.evaluation import record
from drifting.suites import SuiteError, read_plan, runner
from drifting.suites.tables import Programs

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Programs that behave like train.py and evaluate.py. The toy folder records their starts, and a
# file <run>.<program>.<fail|wait> there controls what happens to them.
BOTH = """
import json, os, pathlib, re, signal, sys, time
program, toy = pathlib.Path(sys.argv[0]).stem, pathlib.Path(sys.argv[0]).parent
workdir = pathlib.Path(sys.argv[sys.argv.index("--workdir") + 1])
meets = lambda what: (toy / f"{workdir.name}.{program}.{what}").exists()
with open(toy / "starts", "a") as file:
    file.write(f"{workdir.name} {program}\\n")
def meet():
    if meets("fail"):
        sys.exit("error: first line\\nerror: no such thing")
    while meets("wait"):
        time.sleep(0.01)
def save(step):
    folder = workdir / "checkpoints" / str(step)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text("{}")
"""
TRAIN = """
given = dict(re.fullmatch("--(.+?)=(.+)", a).groups() for a in sys.argv[5:])
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
save(0)
(workdir / "config.json").write_text(json.dumps(given))
meet()
save(10); save(20)
(workdir / "test.json").write_text('{"accuracy": 0.9}')
rows = [{"step": 4, "step_ms": 30.0}, {"step": 8, "loss": 1.0}, {"step": 20, "step_ms": 10.0}]
(workdir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\\n" for row in rows))
"""
EVALUATE = """
assert sys.argv[3:6] == ["--checkpoints", "all", "--skip_existing"]
given = json.loads((workdir / "config.json").read_text())
features = sys.argv[7] if sys.argv[6:7] == ["--features"] else given["config.eval.features"]
assert (workdir / "checkpoints/20").is_dir()
(workdir / "eval/artifacts/ema_step0").mkdir(parents=True, exist_ok=True)
meet()
with open(workdir / "eval/scores.jsonl", "a") as file:
    for step in (0, 10, 20):
        row = {"version": 1, "step": step, "features": features,
               "num_samples": 1000, "cfg_scale": 1.0, "seed": 42, "data_set": "digits",
               "split": "train", "weights": "ema", "frechet_distance": len(features) + 6 - step / 2}
        file.write(json.dumps(row) + "\\n")
"""


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """The folder of toy runs with their programs. Pictures are not drawn, which is slow."""
    for name, text in (("train", TRAIN), ("evaluate", EVALUATE)):
        (tmp_path / f"{name}.py").write_text(BOTH + text)
    monkeypatch.setattr(runner, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(pictures, "plot_lines", lambda *_, **__: None)
    return tmp_path


def programs(toy):
    """Without site packages, so that the toys start fast."""
    return Programs(*([sys.executable, "-SE", str(toy / f"{name}.py")]
                      for name in ("train", "evaluate")))  # fmt: skip


@pytest.fixture
def call(toy, write):
    """call(jobs, given, options, **changed) -> (exit code, [(run, program)] in order of starts).

    `given` is a trained encoder, and `options` are further ones of suites.run.
    """

    def run(jobs=1, given=None, options=None, **changed):
        (toy / "starts").write_text("")
        path = write(**changed)
        code = suites.run(
            path, toy / "out", False, given, jobs, programs=programs(toy), **options or {}
        )
        return code, [tuple(line.split()) for line in (toy / "starts").read_text().splitlines()]

    return run


def table(toy):
    with open(toy / "out" / "ablation.csv", newline="") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def whole(*names):
    return [(name, program) for name in names for program in ("train", "evaluate")]


def test_a_second_call_does_only_what_is_missing(toy, call):
    (toy / "kernel.train.fail").touch()
    (toy / "ldf.evaluate.fail").touch()
    code, started = call()
    assert code == 1 and started == [("kernel", "train"), *whole("ldf", "frozen")]
    rows = table(toy)
    assert [rows[name]["status"] for name in RUNS] == ["failed", "failed", "finished"]
    assert rows["ldf"]["error"] == "error: no such thing" and rows["ldf"]["exit_code"] == "1"
    assert "- ldf: failed (exit code 1) error: no such thing" in (
        (toy / "out" / "ablation.md").read_text()
    )
    (toy / "kernel.train.fail").unlink()
    (toy / "ldf.evaluate.fail").unlink()
    code, started = call()  # what is trained is only scored
    assert code == 0 and started == [*whole("kernel"), ("ldf", "evaluate")]
    for name in RUNS:
        evaluations = toy / "out" / name / "eval"
        assert [path.name for path in evaluations.iterdir()] == ["scores.jsonl"]
    assert call() == (0, [])
    assert {row["status"] for row in table(toy).values()} == {"finished"}
    (toy / "out" / "ldf" / "eval" / "scores.jsonl").unlink()
    assert call() == (0, [("ldf", "evaluate")])


def test_a_trained_suite_is_scored_in_other_features(toy, call):
    assert call()[0] == 0
    assert [row["frechet_10"] for row in table(toy).values()] == ["7.0"] * 3
    inception = {"features": "inception"}
    assert call(options=inception) == (0, [(name, "evaluate") for name in RUNS])
    assert [row["frechet_10"] for row in table(toy).values()] == ["10.0"] * 3
    assert "features: inception;" in (toy / "out" / "ablation.md").read_text()
    assert call() == call(options=inception) == (0, [])


def checkpoints(toy):
    return {path.parent.name for path in (toy / "out").glob("*/checkpoints")}


def test_checkpoints_of_finished_runs_are_removed_if_asked(toy, call):
    remove = {"remove_checkpoints": True}
    (toy / "ldf.evaluate.fail").touch()
    assert call(options=remove)[0] == 1
    assert checkpoints(toy) == {"ldf"}
    before = table(toy)
    (toy / "ldf.evaluate.fail").unlink()
    assert call() == (0, [("ldf", "evaluate")]) and checkpoints(toy) == {"ldf"}
    assert call(options=remove) == (0, []) and checkpoints(toy) == set()
    assert call() == (0, [])
    assert table(toy)["kernel"] == before["kernel"]
    with pytest.raises(SuiteError, match="out/kernel lacks scores, and --remove_checkpoints has"):
        call(options={"features": "inception"})
    assert call() == (0, [])


def test_checkpoints_that_another_run_needs_are_kept(toy, call):
    assert call(options={"remove_checkpoints": True}, runs=ENCODED, encoder=ENCODER)[0] == 0
    assert checkpoints(toy) == {"encoder"}


def test_what_holds_no_checkpoint_is_set_aside(toy, call):
    (toy / "out" / "ldf").mkdir(parents=True)
    (toy / "out" / "ldf" / "note").touch()
    assert call(jobs=3)[0] == 0
    assert (toy / "out" / "ldf.broken-1" / "note").exists()


def test_an_evaluation_without_all_scores_is_a_failure(toy, call):
    (toy / "evaluate.py").write_text(BOTH + "print('scored some')")
    assert call()[0] == 1
    error = "ended without a readable result: scored some"
    assert [row["error"] for row in table(toy).values()] == [error] * 3


ENCODED = {
    "pixels": ("configs/digits.py", {}),
    "encoded": ("configs/digits.py", {"method.encoder": "{encoder}"}),
}


def test_runs_wait_for_the_encoder_and_are_scored_in_its_features(toy, call):
    own = toy / "out" / "encoder"
    (toy / "encoder.train.fail").touch()
    assert call(runs=ENCODED, encoder=ENCODER) == (1, [("encoder", "train")])
    (toy / "encoder.train.fail").unlink()
    code, started = call(runs=ENCODED, encoder=ENCODER, jobs=2)
    assert code == 0 and started[0] == ("encoder", "train")
    assert sorted(started[1:]) == sorted(whole(*ENCODED))
    assert call(runs=ENCODED, encoder=ENCODER) == (0, [])
    given = {n: json.loads((toy / "out" / n / "config.json").read_text()) for n in ENCODED}
    assert {values["config.eval.features"] for values in given.values()} == {f"encoder:{own}"}
    assert given["encoded"]["config.method.encoder"] == str(own)
    assert "config.method.encoder" not in given["pixels"]
    assert "features: encoder configs/classifier_digits.py" in (
        (toy / "out" / "ablation.md").read_text()
    )
    own.rename(toy / "mine")  # another encoder is another measure
    with pytest.raises(SuiteError, match=r"such as pixels: .*/out/encoder.* now .*/mine"):
        call(runs=ENCODED, encoder=ENCODER, given=str(toy / "mine"))


def test_a_given_encoder_is_not_trained(toy, call):
    trained = toy / "trained"
    trained.mkdir()
    ask = dict(runs=ENCODED, encoder=ENCODER, given=str(trained))
    with pytest.raises(SuiteError, match="trained is not the workdir of a run: it has no config"):
        call(**ask)
    (trained / "config.json").touch()
    assert call(**ask) == (0, whole(*ENCODED))
    text = (toy / "out" / "encoded" / "config.json").read_text()
    assert json.loads(text)["config.method.encoder"] == str(trained)


@pytest.mark.parametrize("program", ["train", "evaluate"])
def test_a_signal_stops_the_run_and_starts_no_other(toy, call, write, program):
    wait = toy / f"ldf.{program}.wait"
    wait.touch()
    code = (
        "import sys; from drifting import suites; from drifting.suites.tables import Programs\n"
        f"sys.exit(suites.run({str(write())!r}, {str(toy / 'out')!r},"
        f" programs=Programs(*{tuple(programs(toy))!r})))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    try:
        wait_until(lambda: f"ldf {program}" in starts(toy) and (toy / "out/ldf").exists())
        process.terminate()
        assert process.wait(20) == 143
    finally:
        process.kill()
        wait.unlink()
    rows = table(toy)
    assert [rows[name]["status"] for name in RUNS] == ["finished", "stopped", "missing"]
    assert "frozen" not in starts(toy)
    code, started = call()
    assert code == 0
    assert started == [*whole("ldf")[("train", "evaluate").index(program) :], *whole("frozen")]


def starts(toy):
    path = toy / "starts"
    return path.read_text() if path.exists() else ""


def wait_until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


def test_changed_settings_are_refused(toy, call):
    assert call()[0] == 0
    with pytest.raises(SuiteError, match=r"such as kernel: .* now .*ema_decay=0.5; set these back"):
        call(budget=BUDGET | {"ema_decay": 0.5})


def test_the_table_holds_what_was_scored_and_logged(toy, write, monkeypatch):
    drawn = []
    monkeypatch.setattr(pictures, "plot_lines", lambda *given, **more: drawn.append((given, more)))
    plan, out = read_plan(write(), toy), toy
    score = {
        "features": "pixels", "num_samples": 1000, "cfg_scale": 1.0, "seed": 42, "weights": "ema",
        "data_set": "digits", "split": "train",
    }  # fmt: skip
    for step, distance in ((0, 40.0), (10, 3.25), (20, 4.5)):
        record.append(out / "ldf", score | {"step": step, "frechet_distance": distance})
    for other in ({"features": "inception"}, {"cfg_scale": 2.0}, {"seed": 1}, {"weights": "raw"},
                  {"num_samples": 50}, {"split": "test"}):  # fmt: skip
        record.append(out / "ldf", score | {"step": 10, "frechet_distance": 1.0} | other)
    record.append(out / "frozen", score | {"step": 0, "frechet_distance": 41.0})
    logged = [(5, 40.0), (10, 20.0), (20, 100.0)]
    rows = "".join(json.dumps({"step": s, "step_ms": ms}) + "\n" for s, ms in logged)
    (out / "ldf" / "metrics.jsonl").write_text(rows)

    failed = {"status": "failed", "exit_code": 1, "error": "no room"}
    plan.table.write({"frozen": failed})
    (toy / "out").mkdir()
    (out / "ablation.csv").rename(toy / "out" / "ablation.csv")
    kernel, ldf, frozen = table(toy).values()
    scores = {"frechet_0": "40.0", "frechet_10": "3.25", "frechet_20": "4.5", "last": "4.5",
              "best": "3.25", "best_step": "10", "last_step": "20"}  # fmt: skip
    assert scores.items() <= ldf.items()
    assert {"step_ms": "40.0", "train_seconds": "1.3", "status": "finished"}.items() <= ldf.items()
    assert (ldf["field"], ldf["objective"], ldf["set_size"]) == ("learned", "lookahead", "32")
    assert (frozen["objective"], frozen["last"], frozen["status"]) == ("frozen", "41.0", "failed")
    assert (kernel["field"], kernel["objective"], kernel["status"]) == ("kernel", "", "missing")
    text = (out / "ablation.md").read_text()
    assert "| run | field | objective | set size | 0 | 10 | 20 | best (step) |" in text
    assert "| ldf | learned | lookahead | 32 | 40 | 3.25 | 4.5 | 3.25 (10) | 40 | 1 s |" in text
    (((lines, path, _), options),) = drawn
    assert lines == {"ldf": ([0, 10, 20], [40.0, 3.25, 4.5]), "frozen": ([0], [41.0])}
    assert path == out / "ablation.png" and options == {"log_scale": True}


@pytest.mark.slow
def test_a_real_run(write, tmp_path):
    """Trains a learned-field run on digits for two steps and scores it, with the real programs.

    Most of the time is compilation, so the network has one block and the field is frozen.
    """
    values = small_runs.DRIFTING | {
        "train.total_steps": 2, "train.checkpoint_steps": 2, "train.keep_every_steps": 2,
        "train.sample_steps": 2, "train.steps_per_call": 1, "eval.num_samples": 20,
        "eval.metrics": ("fid",),
        "method.temperatures": (0.1,), "field.hidden": 8, "field.projection": 4,
        "field.score_hidden": 8,
    }  # fmt: skip
    path = write(runs={"frozen": RUNS["frozen"]}, budget=BUDGET | values)
    real = Programs(*([sys.executable, one_block.__file__, f"{name}.py"]
                      for name in ("train", "evaluate")))  # fmt: skip
    assert suites.run(path, tmp_path / "out", programs=real) == 0, (
        tmp_path / "out" / "logs" / "frozen.log"
    ).read_text()
    row = table(tmp_path)["frozen"]
    assert float(row["frechet_0"]) > 0 and row["last"] == row["frechet_2"]
    assert (tmp_path / "out" / "ablation.png").stat().st_size > 1000
    assert not (tmp_path / "out" / "frozen" / "eval" / "artifacts").exists()
