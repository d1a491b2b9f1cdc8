import json
import os
import re
import shutil
import subprocess
import sys

import pytest
import script_modules
import workdirs

from drifting.core import files
from drifting.evaluation import record
from drifting.runs import listing, removal
from drifting.runs.listing import RunError
from drifting.runs.points import ComparisonError

runs = script_modules.load("runs")


@pytest.fixture
def root(finished_run, tmp_path):
    """A folder of two copies of a finished run, `a` and `old/b`, and a file outside of it."""
    root = tmp_path / "runs"
    for name in ("a", "old/b"):
        shutil.copytree(finished_run, root / name)
        shutil.copy(root / name / "config.json", root / name / "checkpoints/12")  # not a run
    (tmp_path / "outside.txt").write_text("kept")
    return root


@pytest.fixture
def printed(capsys):
    """printed(function, *arguments) -> the lines that it prints."""

    def call(function, *arguments):
        capsys.readouterr()
        function(*map(str, arguments[:1]), *arguments[1:])
        return capsys.readouterr().out.splitlines()

    return call


def add_scores(run, *scores, **other):
    """Adds (step, seed, Frechet distance) to the record of a run."""
    for step, seed, distance in scores:
        row = {
            "step": step, "seed": seed, "frechet_distance": distance, "data_set": "digits",
            "split": "train", "features": "pixels", "num_samples": 100, "weights": "ema",
        }  # fmt: skip
        record.append(run, row | other)


def listed(root, printed):
    """The rows of `list`, by run."""
    rows = json.loads("\n".join(printed(runs.list_runs, root, True)))
    return {row.pop("run"): row for row in rows}


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- reading -------------------------------------------------------------------------------------


def test_a_list_has_step_loss_best_score_and_size_of_each_run(root, printed):
    add_scores(root / "a", (4, 42, 9.0), cfg_scale=2.0)  # another setting, so not comparable
    add_scores(root / "a", (4, 42, 8.0), (8, 42, 2.0), (8, 43, 4.0), (12, 42, 5.0))
    rows = listed(root, printed)
    assert list(rows) == ["a", "old/b"]
    size = sum(path.stat().st_size for path in (root / "a").rglob("*") if path.is_file())
    assert rows["a"] == {
        "method": "drifting", "network": "drift_dit", "data": "digits", "step": 12,
        "loss": workdirs.losses(root / "a")[-1], "best": 3.0, "best_step": 8, "bytes": size,
        "best_of": "frechet_distance, pixels, 100 samples (other settings: 1)",
    }  # fmt: skip
    header, first, second = printed(runs.list_runs, root)
    assert header.split() == ["run", "method", "network", "data", "step", "loss", "best",
                              "best_step", "best_of", "size"]  # fmt: skip
    assert first.split()[:5] == ["a", "drifting", "drift_dit", "digits", "12"]
    assert second.split()[-2:] == [f"{rows['old/b']['bytes'] / 1e6:.1f}", "MB"]


def test_points_are_ranked_by_their_energy_distance(root, printed):
    for step, distance in ((4, 0.5), (8, 0.2), (12, 0.3)):
        row = {"step": step, "seed": 42, "features": "pixels", "num_samples": 10}
        record.append(root / "a", row | {"energy_distance": distance})
    row = listed(root, printed)["a"]
    assert (row["best"], row["best_step"]) == (0.2, 8)
    assert row["best_of"] == "energy_distance, pixels, 10 samples"


def test_a_classifier_is_ranked_by_its_validation(finished_classifier):
    saved = [
        json.loads((finished_classifier / f"checkpoints/{step}/metrics/metrics").read_text())
        for step in (0, 4, 8, 12)
    ]
    row = listing.summarize(finished_classifier)
    assert row["best"] == max(metrics["val_accuracy"] for metrics in saved)
    assert saved[row["best_step"] // 4]["val_accuracy"] == row["best"]
    assert row["best_of"] == "val_accuracy" and "problem" not in row


def test_damaged_runs_are_listed_with_what_is_wrong(root, printed):
    for name in ("config", "lost", "metrics", "none", "other"):
        shutil.copytree(root / "a", root / name)
    (root / "config/config.json").write_text('{"config": {')
    (root / "lost/config.json").unlink()
    (root / "metrics/checkpoints/8/metrics/metrics").write_text("{}")
    text = (root / "metrics/metrics.jsonl").read_text()
    (root / "metrics/metrics.jsonl").write_text("garbage\n" + text)
    shutil.rmtree(root / "none/checkpoints")
    shutil.rmtree(root / "other")
    (root / "other").mkdir()
    (root / "other/config.json").write_text('{"architectures": []}')
    (root / "notes").mkdir()
    before = contents(root)
    rows = listed(root, printed)
    assert list(rows) == ["a", "config", "lost", "metrics", "none", "old/b", "other"]
    for name, message in (
        ("config", r"config/config\.json is damaged \(.*\); restore it from a copy"),
        ("lost", r"no .*lost/config\.json: this is not the workdir of a run"),
        ("metrics", "checkpoint .*/8 cannot be used: metrics/metrics is truncated or changed; "
                    r"damaged lines in metrics\.jsonl: 1"),
        ("none", "no finished checkpoint"),
        ("other", r"other/config\.json is damaged \('config'\)"),
    ):  # fmt: skip
        assert re.search(message, rows[name]["problem"]), rows[name]
    assert "problem" not in rows["a"]
    assert rows["config"]["step"] == 12 and rows["config"]["loss"] == rows["a"]["loss"]
    assert contents(root) == before


def test_a_run_is_shown_with_its_config_versions_checkpoints_and_scores(root, printed):
    run = root / "a"
    add_scores(run, (12, 42, 5.0))
    found = json.loads("\n".join(printed(runs.show, run, True)))
    saved = json.loads((run / "config.json").read_text())
    assert found["config"] == saved["config"]
    assert found["facts"]["versions"] == saved["versions"]
    metrics = json.loads((run / "checkpoints/12/metrics/metrics").read_text())
    assert [row["step"] for row in found["checkpoints"]] == [0, 4, 8, 12]
    assert found["checkpoints"][-1] == {"step": 12, **metrics}
    assert [(row["step"], row["frechet_distance"]) for row in found["scores"]] == [(12, 5.0)]
    lines = printed(runs.show, run)
    assert {"config.train.total_steps: 12", f'versions.jax: "{saved["versions"]["jax"]}"',
            "step: 12"} < set(lines)  # fmt: skip
    assert lines[-1].split()[:2] == ["12", "5"]


def test_a_damaged_state_is_shown_with_its_checkpoint(root, printed):
    step = workdirs.truncate_newest_checkpoint(root / "a")
    *_, row = json.loads("\n".join(printed(runs.show, root / "a", True)))["checkpoints"]
    assert row["step"] == step and row["damage"].endswith("is truncated or changed")


def test_a_metric_is_text_or_json(root, printed):
    rows = [(row["step"], row["loss"]) for row in workdirs.rows(root / "a")]
    assert len(rows) == 12
    expected = [f"{step}\t{json.dumps(loss)}" for step, loss in rows]
    assert printed(runs.show_metric, root / "a", "loss") == expected
    (line,) = printed(runs.show_metric, root / "a", "loss", True)
    assert json.loads(line) == {"a": [list(row) for row in rows]}


def test_a_run_that_has_logged_nothing_has_no_metrics_yet(root):
    (root / "a/metrics.jsonl").write_text("")
    with pytest.raises(ComparisonError, match="a has no metrics and no scores yet"):
        runs.show_metric(str(root / "a"), "loss")


def test_scores_of_different_settings_are_apart(root, printed):
    add_scores(root / "a", (8, 42, 2.0), (4, 42, 8.0), cfg_scale=1.0)
    add_scores(root / "a", (4, 42, 9.0), cfg_scale=2.0)
    assert printed(runs.show_metric, root / "a", "frechet_distance") == [
        "# frechet_distance, a, cfg_scale 1", "4\t8.0", "8\t2.0",
        "# frechet_distance, a, cfg_scale 2", "4\t9.0",
    ]  # fmt: skip


def test_a_plot_has_bars_between_the_least_and_the_largest_value(monkeypatch):
    monkeypatch.setattr(runs, "HEIGHT", 2)
    points = [(1, 0.0), (2, 1.0), (3, 3.0), (4, float("nan"))]
    assert runs.plot(points).splitlines() == [
        "         3   █",
        "         0 ▁▆█",  # 1 of 3 is the 6th of 16 eighths, where 0 is the first
        "           step 1 to 3",
        "           not finite and left out: 1",
    ]
    monkeypatch.setattr(runs, "WIDTH", 2)  # each bar is the mean of two steps
    first, *_ = runs.plot([(1, 1.0), (2, 3.0), (3, 6.0), (4, 4.0)]).splitlines()
    assert first == "         5  █"
    with pytest.raises(RunError, match="none of the values is finite"):
        runs.plot([(1, float("nan"))])


def test_one_value_is_printed_for_scripts(root, printed):
    run = root / "a"
    metrics = json.loads((run / "checkpoints/12/metrics/metrics").read_text())
    versions = json.loads((run / "config.json").read_text())["versions"]
    for key, value in (
        ("config.train.total_steps", "12"),
        ("config.method.name", "drifting"),
        ("config.data.flip", "false"),
        ("config.train.total_epochs", "null"),
        ("versions.jax", versions["jax"]),
        ("checkpoint.step", "12"),
        ("checkpoint.loss", json.dumps(metrics["loss"])),
    ):
        assert printed(runs.get, run, key) == [value]
    for key, near in (("train.total_steps", "config.train.total_steps"),
                      ("checkpoint.los", "checkpoint.loss")):  # fmt: skip
        with pytest.raises(RunError, match=f"has no {key}; did you mean '{near}'?"):
            runs.get(str(run), key)


# --- removing ------------------------------------------------------------------------------------


def test_a_removal_is_shown_first_and_done_only_then(root, printed):
    before, size = contents(root), listing.size(root / "old/b")
    shown = printed(runs.remove, root, "old/*")
    assert shown == [
        f"would remove from {root}, {size / 1e6:.1f} MB in all:",
        "run    size",
        f"old/b  {size / 1e6:.1f} MB",
        "nothing was removed; --yes removes these",
    ]
    assert contents(root) == before
    done = printed(runs.remove, root, "old/*", True)
    assert done == ["removing" + shown[0][12:], *shown[1:3], f"removed {root / 'old/b'}"]
    assert contents(root) == {p: c for p, c in before.items() if not p.is_relative_to(root / "old")}
    assert not (root / "old/b").exists()


def refused(root, pattern, message):
    """Checks that a removal is refused with a message, and that it changes nothing."""
    before = contents(root.parent)
    for yes in (False, True):
        with pytest.raises(RunError, match=message):
            runs.remove(str(root), pattern, yes)
        assert contents(root.parent) == before


def test_links_that_lead_outside_are_refused(root, tmp_path):
    shutil.move(root / "old/b", tmp_path / "elsewhere")
    (root / "link").symlink_to(tmp_path / "elsewhere")
    refused(root, "link", f"link is a link that leads outside {root}, to {tmp_path}/elsewhere")
    shutil.move(root / "a/checkpoints", tmp_path / "checkpoints")
    (root / "a/checkpoints").symlink_to(tmp_path / "checkpoints")
    refused(root, "a", f"a/checkpoints is a link that leads outside {root}")
    (root / "up").symlink_to(tmp_path)  # what is beyond it is not searched
    refused(root, "up/*", "no run in .* matches 'up/.*'; the runs there: a, link, up")
    assert (root / "link").is_symlink() and (root / "a/checkpoints").is_symlink()


def test_only_what_is_named_is_removed(root, printed):
    (root / "inner").symlink_to(root / "a")
    refused(root, "inner", f"it is a link; the run is {root}/a")
    refused(root, "../outside*", "no run in .* matches")
    refused(root / "a", "*", f"it is not below {root}/a")
    shutil.copytree(root / "a", root / "a/nested")
    refused(root, "a", f"another run is in it, {root}/a/nested; remove that first")
    assert printed(runs.remove, root, "a/nested", True)[-1] == f"removed {root}/a/nested"


def test_a_folder_that_is_not_a_run_is_never_removed(root):
    for name, text in (("model", '{"architectures": []}'), ("broken", "{")):
        (root / name).mkdir()
        (root / name / "config.json").write_text(text)
        refused(root, name, "it is not a run: its config.json is of something else")
    (root / "notes").mkdir()
    (root / "notes/a.txt").write_text("notes")
    refused(root, "notes", "no run in .* matches 'notes'; the runs there: a, broken, model, old/b")
    refused(root, "old", "no run in .* matches 'old'")


def test_a_run_in_training_is_refused_and_the_others_are_removed(root, printed):
    with files.locked(root / "a/.lock"):
        refused(root, "a", f"a: process {os.getpid()} is training in it")
        with pytest.raises(RunError, match=f"a: process {os.getpid()} is training in it"):
            runs.remove(str(root), "*", True)
        assert (root / "a/config.json").exists() and not (root / "old/b").exists()
    assert printed(runs.remove, root, "a", True)[-1] == f"removed {root}/a"
    assert list(root.iterdir()) == [root / "old"]


def test_a_training_that_begins_between_showing_and_removing_is_left_alone(root, monkeypatch):
    monkeypatch.setattr(removal, "refusal", lambda run, root: None)
    with files.locked(root / "a/.lock"):
        before = contents(root)
        with pytest.raises(RunError, match="is training in it"):
            removal.remove(root / "a", root)
        assert contents(root) == before


def test_an_interrupted_removal_can_be_repeated(root, monkeypatch, printed):
    real = shutil.rmtree

    def interrupted(path):
        real(path)
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", interrupted)
    with pytest.raises(KeyboardInterrupt):
        removal.remove(root / "a", root)
    assert not (root / "a/checkpoints").exists()
    monkeypatch.undo()
    assert printed(runs.remove, root, "a", True)[-1] == f"removed {root}/a"


def test_a_damaged_run_with_checkpoints_can_be_removed(root, printed):
    (root / "a/config.json").write_text("{")
    assert printed(runs.remove, root, "a", True)[-1] == f"removed {root}/a"


def test_on_the_command_line_removing_needs_its_flag(root):
    command = [sys.executable, script_modules.SCRIPTS / "runs.py", "rm", root, "--match", "old/*"]
    for flags, left in (([], True), (["--yes"], False)):
        done = subprocess.run([*command, *flags], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert (root / "old/b").exists() == left
