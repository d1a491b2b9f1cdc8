"""Training a config in a workdir, from its first check to the test of its best checkpoint."""

import functools
import json
import logging
import pathlib
from typing import Any

import jax
import numpy as np

from drifting import pictures
from drifting.core import config as config_lib
from drifting.core import files
from drifting.core.method import Scored
from drifting.runs import best, evaluate, same_data
from drifting.runs.build import build, load_images
from drifting.runs.folder import owned
from drifting.runs.records import record
from drifting.runs.workdir import Run, claim
from drifting.training import loop, validation, writers
from drifting.training.parts import Parts
from input_pipeline import splits
from input_pipeline.decoding import DataError
from input_pipeline.image_set import ImageSet

log = logging.getLogger(__name__)


def train(
    config: Any,
    workdir: str | pathlib.Path,
    accept_new_data: bool = False,
    note: str | None = None,
) -> None:
    """Trains a config in a workdir, which may hold an earlier part of the run.

    A method that can be scored is tested on the test split at the end.

    Args:
      accept_new_data: whether an earlier part of the run may have been trained on other samples of
        the same classes.
      note: about this start, for history.jsonl.

    Raises:
      UserError: something is invalid or missing; a run that cannot start writes nothing.
    """
    workdir = pathlib.Path(workdir).expanduser()
    with owned(workdir):
        # 1. Any run in the folder has the same model and data.
        claim(workdir, config_lib.resolve(config))
        # 2. Everything that the config names exists and fits; building it checks that.
        parts = build(config)
        score = evaluate.in_training(workdir, parts)
        test_images = _test_images(parts)
        # 3. The run continues on the data that it began with.
        same_data.require(workdir, parts, accept_new_data)
        # 4. The split is written down, or compared with the one that the run began with.
        if parts.held_out is not None:
            given = parts.config.data.num_val, parts.config.data.split_seed
            splits.load_or_make(workdir / "split.json", parts.whole, *given)
        # 5. Training from the newest checkpoint; the start is recorded once that is restored.
        loop.train(
            parts, workdir, score, functools.partial(record, workdir, parts, note),
            functools.partial(best.step, workdir, parts.method.best_score, parts.config),
        )  # fmt: skip
        # 6. The best checkpoint is tested on images that no decision was based on.
        if test_images is not None:
            _test(workdir, test_images, parts.schedule.total)


def _test_images(parts: Parts) -> ImageSet | None:
    """The test images, loaded before training so that missing ones are reported at once."""
    if not isinstance(parts.method, Scored):
        return None
    try:
        images = load_images(parts.config, parts.config.data.test_split)
    except DataError as error:
        log.warning("there will be no test.json: %s", error)
        return None
    return images.in_classes(parts.facts.class_names)


def _test(workdir: pathlib.Path, images: ImageSet, total_steps: int) -> None:
    """Scores the best checkpoint on the test images: test.json, and a classifier's confusion.png.

    Does nothing if the run was already scored at this length.
    """
    path = workdir / "test.json"
    if tested_steps(path) == total_steps:
        log.info("already tested: %s", path)
        return
    run = Run(workdir)
    state, metrics, step = run.restore_best()
    run = run.at(step)
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
        **({"epoch_seconds": float(np.median(epochs))} if epochs else {}),
        "split": f"{images.source} {images.split}",
    }
    if "confusion" in sums:
        found["confusion"] = sums["confusion"]
    files.write_json(path, found)
    if "confusion" in sums:
        picture = workdir / "confusion.png"
        with pictures.attempt(picture):
            pictures.plot_confusion(sums["confusion"], images.class_names, picture)
    shown = ", ".join(f"{k} {v:.4g}" for k, v in scores.items())
    log.info("test split, checkpoint of step %d: %s; %s", step, shown, path)


def tested_steps(path: pathlib.Path) -> int | None:
    """The length of the run that test.json is of; None if there is none that can be read."""
    try:
        return json.loads(path.read_bytes())["trained_steps"]
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        log.warning("%s is damaged (%s); testing again", path, error)
        return None
