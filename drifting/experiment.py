"""What the entry points do: train a config, evaluate a run, compare folders, sample."""

import dataclasses
import functools
import json
import logging
import pathlib
import subprocess
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from configs import base
from drifting import methods, pictures
from drifting.core import config as config_lib
from drifting.evaluation import generation, report, scoring
from drifting.runs import (
    InTraining,
    Run,
    Sampled,
    WorkdirError,
    facts_of,
    images_to_score,
    load_images,
    make_method,
    open_stream,
)
from drifting.training import checkpoints, loop, sharding, validation, writers
from input_pipeline import sources, splits
from input_pipeline.sources import ImageSet, Stream

log = logging.getLogger(__name__)


def train(config: Any, workdir: str | pathlib.Path) -> None:
    """Trains a config in a workdir, fresh or resumed, and scores what can be on its test split.

    Raises:
      UserError.
    """
    workdir = pathlib.Path(workdir)
    _check_workdir(workdir, config)
    streaming = config.data.streaming
    whole = open_stream(config) if streaming else load_images(config, config.data.split)
    data, held_out = _divide(config, whole)
    facts = facts_of(data)
    method, frozen = make_method(config, facts)
    schedule = _schedule(config, method, len(data))
    # Nothing is written for a run that cannot start.
    if streaming and not getattr(method, "streams", False):
        raise config_lib.ConfigError(
            f"method {config.method.name!r} does not train on a stream; set "
            "config.data.streaming=False"
        )
    method.check_data(data)
    sharding.mesh_of(config, method)
    score = _scores_in_training(workdir, config, method)
    test_images = _test_images(config) if hasattr(method, "tally") else None
    if held_out is not None:
        given = config.data.num_val, config.data.split_seed
        splits.load_or_make(workdir / "split.json", whole, *given)
    config_lib.write(workdir / "config.json", config, _record(data, facts))
    hparams = config_lib.flatten(config)
    loop.train(method, data, config, schedule, workdir, hparams, held_out, frozen, score)
    if test_images is not None:
        _test(workdir, test_images, schedule.total)


def _divide(config: Any, whole: ImageSet | Stream) -> tuple[ImageSet | Stream, ImageSet | None]:
    """The part to train on, and the part kept out of it to validate on, if any."""
    if not config.data.num_val:
        return whole, None
    return splits.make(whole, config.data.num_val, config.data.split_seed).apply(whole)


def _test_images(config: Any) -> ImageSet | None:
    """Before the training, so that their absence is not news at its end."""
    try:
        return load_images(config, config.data.test_split)
    except sources.DataError as error:
        log.warning("there will be no test.json: %s", error)
        return None


def _schedule(config: Any, method: Any, num_images: int) -> loop.Schedule:
    convert = functools.partial(
        config_lib.to_steps,
        config.train,
        images_per_step=method.images_per_step,
        num_images=num_images,
    )
    per_epoch = config_lib.steps_per_epoch(config.train, method.images_per_step, num_images)
    return loop.steps_of(config, convert, per_epoch)


def _test(workdir: pathlib.Path, images: ImageSet, total_steps: int) -> None:
    """Scores the best checkpoint on test images: test.json, and confusion.png of a classifier.

    Done again where a job died in it, and where the run went on since.
    """
    path = workdir / "test.json"
    if path.exists() and json.loads(path.read_text())["trained_steps"] == total_steps:
        log.info("scored already: %s", path)
        return
    run = Run(workdir)
    step = run.best_step()
    state, metrics = run.restore(step)
    where = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    held_out = validation.Validation(run.method, images, run.config.eval.batch_size, where)
    sums = held_out.sums(state)
    scores = run.method.scores(sums)
    rows = writers.read_metrics(workdir / "metrics.jsonl")
    epochs = [row["epoch_seconds"] for row in rows if "epoch_seconds" in row]
    found = {
        **scores,
        **{k: v for k, v in metrics.items() if k.startswith("val_")},
        "step": step,
        "trained_steps": total_steps,
        "num_images": len(images),
        "parameters": sum(x.size for x in jax.tree.leaves(state.params)),
        "epoch_seconds": float(np.median(epochs)),
        "split": f"{images.source} {images.split}",
    }
    if "confusion" in sums:
        found["confusion"] = sums["confusion"]
        pictures.plot_confusion(sums["confusion"], images.class_names, workdir / "confusion.png")
    report.write_json(path, found)
    shown = ", ".join(f"{k} {v:.4g}" for k, v in scores.items())
    log.info("test split, checkpoint of step %d: %s; %s", step, shown, path)


def _check_workdir(workdir: pathlib.Path, config: Any) -> None:
    """Makes the folder of a fresh run; refuses one that cannot be written or gone on from."""
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        _probe(workdir)
    except OSError as error:
        raise WorkdirError(
            f"cannot write to the workdir {workdir}: {error.strerror}; choose another --workdir"
        ) from error
    if not any(workdir.iterdir()):
        return
    if not checkpoints.valid_steps(workdir / "checkpoints"):
        raise WorkdirError(
            f"{workdir} holds files but no finished checkpoint, so there is nothing to resume; "
            "remove it or choose another --workdir"
        )
    for line in config_lib.check_resume(config_lib.read(workdir / "config.json"), config):
        log.warning("resuming with a changed %s", line)


def _record(data: ImageSet | Stream, facts: methods.DataFacts) -> dict[str, Any]:
    """What a reader of config.json needs to repeat the run, or to use its network elsewhere."""
    import importlib.metadata

    packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
    return {
        "versions": {p: importlib.metadata.version(p) for p in packages},
        "device_kind": jax.devices()[0].device_kind,
        "device_count": jax.device_count(),
        "git_commit": _git_commit(),
        "data_fingerprint": data.fingerprint,
        "data": dataclasses.asdict(facts),
        "class_names": data.class_names,
    }


def _git_commit() -> str | None:
    command = ["git", "rev-parse", "HEAD"]
    root = pathlib.Path(__file__).parent
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def evaluate(
    workdir: str | pathlib.Path,
    which: str = "last",
    *,
    skip_existing: bool = False,
    watch: bool = False,
    split: str | None = None,
    cfg_scales: list[float] | None = None,
    seeds: list[int] | None = None,
    sampler: str | None = None,
    sampling_steps: int | None = None,
    **given: Any,
) -> None:
    """Scores checkpoints of a run; what is not given comes from its config.

    Args:
      which: `last`, `all`, `best`, or steps separated by commas.
      skip_existing: leave out what the table holds already.
      watch: go on with new checkpoints until the run's last one; implies skip_existing.
      given: fields of scoring.Settings; None is the config's.

    Raises:
      UserError.
    """
    run = Run(workdir)
    run.require_generator()
    run.use_sampler(sampler, sampling_steps)
    scorers = _scorers(run, split, cfg_scales, seeds, given)
    session = scoring.Session(run, scorers, skip_existing or watch)
    session.score(which)
    if watch:
        session.watch(_total_steps(run))


def _scorers(
    run: Sampled,
    split: str | None = None,
    cfg_scales: list[float] | None = None,
    seeds: list[int] | None = None,
    given: dict[str, Any] | None = None,
) -> list[scoring.Scorer]:
    """As the run's config.eval says, or as is `given`; None is the config's."""
    values = base.get_config().eval.to_dict() | run.config.eval.to_dict()
    values |= {k: v for k, v in (given or {}).items() if v is not None}
    values["metrics"] = tuple(values["metrics"])
    images = run.images
    if split not in (None, run.config.data.split):
        images = load_images(run.config, split)
    heldout = _heldout(run.config, images) if "neighbours" in values["metrics"] else None
    return scoring.make_scorers(
        run,
        images,
        heldout,
        scoring.Settings(**values),
        cfg_scales or [values["cfg_scale"]],
        seeds or [values["seed"]],
    )


def _scores_in_training(
    workdir: pathlib.Path, config: Any, method: Any
) -> Callable[[Any, int, dict[str, float]], None] | None:
    """(state, step, metrics) -> None: scores a checkpoint by config.eval, where that is asked for.

    The same rows and pictures as `evaluate.py`'s, with the network that is there already.
    """
    if not config.train.evaluate:
        return None
    mesh = sharding.mesh_of(config, method)
    run = InTraining(workdir, config, method, images_to_score(config), mesh)
    run.require_generator()
    session = scoring.Session(run, _scorers(run), skip_existing=True)

    def score(state: Any, step: int, metrics: dict[str, float]) -> None:
        run.hold(state, metrics)
        session.score_step(step)

    return score


def _total_steps(run: Run) -> int:
    return config_lib.to_steps(
        run.config.train, "total", run.method.images_per_step, len(run.images)
    )


def compare_folders(
    real: str | pathlib.Path, fake: str | pathlib.Path, **given: Any
) -> dict[str, Any]:
    """Scores the images of one folder against those of another, by configs/base.py's eval values.

    Raises:
      UserError.
    """
    values = base.get_config().eval.to_dict() | {k: v for k, v in given.items() if v is not None}
    return scoring.score_folders(
        sources.load_as_they_are(real),
        sources.load_as_they_are(fake),
        feature_name=values["features"],
        mode=values["fid_mode"],
        metrics=tuple(values["metrics"]),
        batch_size=values["batch_size"],
        seed=values["seed"],
        sharding=sharding.batch_sharding(values["batch_size"]),
    )


def _heldout(config: Any, reference: ImageSet) -> ImageSet | None:
    """Real images apart from the reference, where the source has them."""
    if reference.split == config.data.test_split:
        return None
    try:
        return load_images(config, config.data.test_split)
    except sources.DataError as error:
        log.info("no held-out images: %s", error)
        return None


def sample(
    workdir: str | pathlib.Path,
    num: int,
    out: str | pathlib.Path | None,
    *,
    labels: list[int] | None,
    cfg_scale: float | None,
    batch_size: int | None,
    seed: int,
    ema: bool,
    sampler: str | None = None,
    sampling_steps: int | None = None,
) -> pathlib.Path:
    """Writes `num` samples of a run's newest checkpoint as a picture, an npz or a folder.

    Raises:
      UserError.
    """
    run = Run(workdir)
    run.require_generator()
    run.use_sampler(sampler, sampling_steps)
    out = pathlib.Path(out) if out else run.workdir / "samples.png"
    _check_out(out)
    chosen = np.asarray(labels if labels else range(run.images.num_classes), np.int32)
    unknown = [int(k) for k in chosen if not 0 <= k < run.images.num_classes]
    if unknown:
        raise WorkdirError(f"--labels {unknown}: there are {run.images.num_classes} classes")
    chosen = np.resize(chosen, num)  # in turn, so every class is there as often, or once more
    state, step = run.restore_last()
    cfg_scale = run.config.eval.cfg_scale if cfg_scale is None else cfg_scale
    program = generation.SampleProgram(run.sampler(cfg_scale, ema))
    size = min(batch_size or run.config.eval.batch_size, num)
    samples = generation.generate_images(program, state, chosen, jax.random.key(seed), size)
    pictures.save_samples(samples, chosen, run.images.images, out)
    log.info("%d samples of step %d: %s", num, step, out)
    return out


def _check_out(out: pathlib.Path) -> None:
    """Refuses, before the work, a place that cannot be written or would mix two sets of samples."""
    is_folder = out.suffix not in (".png", ".npz")
    try:
        folder = out if is_folder else out.parent
        folder.mkdir(parents=True, exist_ok=True)
        _probe(folder)
    except OSError as error:
        raise WorkdirError(f"cannot write --out {out}: {error.strerror}") from error
    if is_folder and any(out.iterdir()):
        raise WorkdirError(f"--out {out} holds files already; empty it or choose another folder")


def _probe(folder: pathlib.Path) -> None:
    """Raises OSError where files cannot be made in a folder."""
    probe = folder / ".write_test"
    probe.touch()
    probe.unlink()
