"""The loop: events, resume, divergence, no recompilation, no hidden transfer."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from workdirs import losses, state_of

import drifting
from drifting.core.method import Grid, Scatter
from drifting.runs.build import build
from drifting.runs.workdir import Run
from drifting.training import checkpoints, loop, writers
from drifting.training.checkpoints import CheckpointError
from drifting.training.mesh import MeshError
from drifting.training.schedule import Schedule


def parts_of(config, *schedule):
    """The parts of a config, with another schedule."""
    return dataclasses.replace(build(config), schedule=Schedule(*schedule))


def test_what_a_run_leaves(finished_run):
    rows = writers.read_metrics(finished_run / "metrics.jsonl")
    assert [r["step"] for r in rows] == list(range(1, 13))
    wanted = {
        "loss",
        "drift_norm",
        "grad_norm",
        "feature_dist_mean",
        "feature_dist_var",
        "lr",
        "images_per_second",
        "step_ms",
        "epoch",
    }
    assert wanted <= set(rows[0])
    np.testing.assert_allclose([r["lr"] for r in rows], [2e-5 * k for k in range(1, 13)], rtol=1e-5)
    assert Image.open(finished_run / "curves.png").width > 300
    pictures = sorted(p.name for p in (finished_run / "samples").iterdir())
    assert pictures == [f"step_{k:07d}.png" for k in (0, 6, 12)]
    assert checkpoints.valid_steps(finished_run / "checkpoints") == [0, 4, 8, 12]
    _, metrics = Run(finished_run).restore(12)
    assert metrics["loss"] == rows[-1]["loss"]
    epoch = [r for r in rows if r["step"] > 12 - metrics["num_batches"]]
    for name in ("loss", "drift_norm"):
        assert metrics[f"avg_{name}"] == pytest.approx(np.mean([r[name] for r in epoch]), rel=1e-6)


@pytest.mark.slow
def test_length_of_a_call_changes_nothing(train):
    a, b = train("a", **{"train.steps_per_call": 1}), train("b", **{"train.steps_per_call": 5})
    assert losses(a) == losses(b)
    jax.tree.map(np.testing.assert_array_equal, state_of(a, 12), state_of(b, 12))


@pytest.mark.slow
def test_means_over_a_window(finished_run, train):
    coarse = train(**{"train.log_steps": 6})
    means = np.asarray(losses(finished_run)).reshape(2, 6).mean(axis=1)
    np.testing.assert_allclose(losses(coarse), means, rtol=1e-5)


def test_a_resumed_run_equals_one_that_never_stopped(finished_run, train):
    train(**{"train.total_steps": 5})
    parts = train()
    assert losses(parts) == losses(finished_run)
    jax.tree.map(np.testing.assert_array_equal, state_of(parts, 12), state_of(finished_run, 12))
    before = (parts / "metrics.jsonl").read_text()
    train()  # nothing left to do
    assert (parts / "metrics.jsonl").read_text() == before


def test_a_resume_updates_config_json_unless_it_is_refused(train):
    path = train(**{"train.total_steps": 4}) / "config.json"
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match="does not fit this model"):
        train(**{"optimizer.name": "sgd"})  # which only the checkpoint can refuse
    assert path.read_bytes() == before
    train(**{"train.total_steps": 5})
    assert json.loads(path.read_text())["config"]["train"]["total_steps"] == 5


MESHES = [((2, 4), "kernel"), ((8, 1), "kernel"), ((1, 8), "kernel"), ((2, 4), "learned")]


@pytest.mark.slow  # tests/methods/drifting/test_sharded_field.py has a fast one
@pytest.mark.parametrize(("mesh", "field"), MESHES)
def test_losses_do_not_depend_on_the_mesh(train, mesh, field):
    few = {"train.total_steps": 5, "train.sample_steps": 5, "train.checkpoint_steps": 5}
    few["method.field"] = field
    one = losses(train("one", **few))
    many = losses(train("many", **few, **{"mesh.data": mesh[0], "mesh.fsdp": mesh[1]}))
    assert len(one) == 5
    # The learned field's loss is the square of a small difference, so it rounds more coarsely.
    np.testing.assert_allclose(many, one, rtol=1e-5 if field == "kernel" else 5e-5)


def test_parameters_are_split_over_fsdp(small_config, tmp_path):
    parts = parts_of(small_config(**{"mesh.data": 2, "mesh.fsdp": 4}), 1, 1, 1, 1, 1, 1.0)
    trainer = loop.Trainer(parts, tmp_path)
    with jax.set_mesh(trainer.mesh):
        trainer.start()
    leaves = [x for x in jax.tree.leaves(trainer.state) if x.size >= 2**14]
    assert leaves
    for leaf in leaves:
        assert leaf.addressable_shards[0].data.size == leaf.size // 4
    trainer.close()


def test_a_batch_that_does_not_divide_is_refused(train):
    with pytest.raises(MeshError, match="40 images per step do not divide over 3 x 1"):
        train(**{"mesh.data": 3})
    with pytest.raises(MeshError, match="asks for 16 x 1 = 16 devices, there are 8"):
        train("other", **{"mesh.data": 16})


def test_divergence_names_the_step_and_the_last_good_checkpoint(train, tmp_path):
    with pytest.raises(loop.TrainingDiverged) as error:
        train(**{"optimizer.learning_rate": 1e38, "optimizer.warmup_steps": 0})
    text = str(error.value)
    assert "loss is not finite at step" in text and "loss nan" in text
    steps = checkpoints.valid_steps(tmp_path / "run" / "checkpoints")
    last_good = tmp_path / "run" / "checkpoints" / str(steps[-1])
    assert f"the last good checkpoint is {last_good}" in text
    rows = writers.read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert all(np.isfinite(r["loss"]) for r in rows)
    state = state_of(tmp_path / "run", steps[-1])
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(state.ema_params))


@pytest.mark.slow
def test_on_a_cpu_a_call_of_a_convolving_method_is_one_step(small_classifier, tmp_path):
    config = small_classifier(
        **{
            "train.total_steps": 3,
            "train.log_steps": 3,
            "train.checkpoint_steps": 3,
            "train.steps_per_call": 3,
        }
    )
    drifting.train(config, tmp_path / "run")
    trainer = loop.Trainer(parts_of(config, 3, 3, 3, 3, 3, 1.0), tmp_path / "other")
    with jax.set_mesh(trainer.mesh):
        trainer.start()
    trainer.close()
    assert trainer.schedule.per_call == 1
    (row,) = [r for r in writers.read_metrics(tmp_path / "run" / "metrics.jsonl") if "loss" in r]
    assert row["step"] == 3 and np.isfinite(row["loss"])


class Counted:
    """A method that counts how often its step is traced."""

    def __init__(self, method):
        self.method, self.traces = method, 0

    def __getattr__(self, name):
        return getattr(self.method, name)

    def train_step(self, *given):
        self.traces += 1
        return self.method.train_step(*given)


def test_nothing_is_traced_or_compiled_after_the_second_step(small_config, tmp_path, monkeypatch):
    # Events that differ in length: calls of 1 to 4 steps, samples, checkpoints.
    config = small_config(
        **{
            "train.total_steps": 21,
            "train.log_steps": 2,
            "train.sample_steps": 5,
            "train.checkpoint_steps": 7,
        }
    )
    parts = build(config)
    method = Counted(parts.method)
    compiled, seen = [], {}

    def on_event(name, seconds, **_):
        if "backend_compile" in name:
            compiled.append(name)

    scalars = writers.Writers.scalars

    def note(self, step, row):
        seen[step] = (method.traces, len(compiled))
        scalars(self, step, row)

    monkeypatch.setattr(writers.Writers, "scalars", note)
    jax.monitoring.register_event_duration_secs_listener(on_event)
    loop.train(dataclasses.replace(parts, method=method), tmp_path)
    traces, compilations = seen[2]
    assert traces >= 1 and compilations >= 1, "the counters work"
    assert set(seen.values()) == {(traces, compilations)}
    assert method.traces == traces


def test_a_hidden_transfer_in_the_loop_is_an_error(small_config, tmp_path):
    trainer = loop.Trainer(parts_of(small_config(), 4, 1, 4, 4, 1, 1.0), tmp_path)
    with jax.set_mesh(trainer.mesh):
        trainer.start()
        program = trainer.program

        def careless(*given):
            jnp.sin(np.ones(3))  # a host array slips into a device computation
            return program(*given)

        trainer.program = careless
        output = writers.Writers(tmp_path, 0, False, {})
        with pytest.raises(Exception, match="Disallowed host-to-device transfer"):
            trainer.run(output)
        output.close()
    trainer.close()


def test_metrics_of_a_killed_run_are_taken_up_where_it_resumes(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "loss": 1.0}\n{"step": 2, "loss": 2.0}\n{"step": 3, "lo')
    output = writers.Writers(tmp_path, 1, False, {})
    output.scalars(2, {"loss": 2.5})
    output.close()
    rows = writers.read_metrics(path)
    assert [(r["step"], r["loss"]) for r in rows] == [(1, 1.0), (2, 2.5)]


def test_tensorboard_events_are_written(tmp_path):
    pytest.importorskip("tensorflow")
    output = writers.Writers(tmp_path, 0, True, {"seed": 1})
    output.scalars(1, {"loss": 1.0})
    output.picture(1, "samples", Grid(np.zeros((2, 3, 8, 8, 1), np.uint8)))
    output.close()
    (events,) = tmp_path.glob("events.out.tfevents.*")
    assert events.stat().st_size > 200


def test_a_picture_is_named_after_its_step_and_its_content(tmp_path):
    output = writers.Writers(tmp_path, 0, False, {})
    points = np.random.default_rng(0).standard_normal((5, 2))
    output.picture(3, "points", Scatter(points, points))
    output.picture(3, "augmented", Grid(np.zeros((2, 3, 8, 8, 1), np.uint8)))
    output.close()
    assert [p.name for p in (tmp_path / "samples").iterdir()] == ["step_0000003.png"]
    assert [p.name for p in (tmp_path / "figures").iterdir()] == ["step_0000003_augmented.png"]


def test_without_tensorflow_training_says_so_once(tmp_path, monkeypatch, caplog):
    import sys

    monkeypatch.setitem(sys.modules, "clu.metric_writers", None)
    with caplog.at_level("WARNING", logger="drifting"):
        output = writers.Writers(tmp_path, 0, True, {})
        output.scalars(1, {"loss": 1.0})
        output.close()
    assert [r.message for r in caplog.records] == [
        "TensorFlow is not installed: TensorBoard events are off"
    ]
    assert len(writers.read_metrics(tmp_path / "metrics.jsonl")) == 1
