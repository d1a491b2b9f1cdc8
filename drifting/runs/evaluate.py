"""Evaluation of checkpoints of a run, of a run in training, or of one folder against another."""

import dataclasses
import functools
import itertools
import logging
import pathlib
from typing import Any

from drifting.core import config as config_lib
from drifting.core import durations
from drifting.core.facts import DataFacts
from drifting.evaluation import features, metrics, resize, scorer
from drifting.evaluation.checkpoints import CheckpointEvaluator
from drifting.evaluation.checks import check_settings
from drifting.evaluation.folders import score_folders
from drifting.evaluation.metric import Need
from drifting.evaluation.settings import ScoreSettings
from drifting.runs import best, frozen, real_images
from drifting.runs.sampled import InTraining, Sampled
from drifting.training import checkpoints, loop, mesh
from drifting.training.parts import Parts
from input_pipeline import unresized
from input_pipeline.image_set import ImageSet
from input_pipeline.space import Space

log = logging.getLogger(__name__)

ENCODER = "encoder:"
OF_SCORES = ("eval", "method", "precision")  # the parts of a config that scores depend on


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
    """Scores checkpoints of a run, each with the config that it was made with.

    Settings that are given replace those of the config.

    Args:
      which: `last`, `all`, `best`, or steps separated by commas.
      skip_existing: skip measurements that the record already has.
      watch: continue with new checkpoints until the last of the run; implies skip_existing.
      given: fields of ScoreSettings; None for the value in the config.

    Raises:
      UserError: a setting is invalid or a checkpoint cannot be scored; earlier scores are kept.
    """
    run = frozen.open_run(workdir)
    run.require_scorable()
    run.use_sampler(sampler, sampling_steps)
    made = functools.cache(lambda opened: _scorers(opened, split, cfg_scales, seeds, given))
    evaluator = CheckpointEvaluator(
        run, lambda step: made(run.at(step)), skip_existing or watch,
        functools.partial(best.require, run) if run.method.best_score else None,
    )  # fmt: skip
    evaluator.score(which)
    if watch:
        config, _ = config_lib.read_complete(run.workdir / "config.json")  # of the last start
        evaluator.watch(_total_steps(config, run.facts, run.method.images_per_step))


def in_training(workdir: pathlib.Path, parts: Parts) -> loop.Score | None:
    """The function that scores each new checkpoint by config.eval; None if train.evaluate is off.

    It writes the same rows and pictures as `evaluate`, with the network that is in memory.
    """
    if not parts.config.train.evaluate:
        return None
    run = InTraining(workdir, parts)
    run.require_scorable()
    best.require_measured(parts.method.best_score, parts.config)
    scorers = _scorers(run)
    evaluator = CheckpointEvaluator(run, lambda step: scorers, skip_existing=True)

    def score(state: Any, step: int, metrics: dict[str, float]) -> None:
        if changed := _changed_scoring(workdir, step, parts.config):
            log.warning(
                "step %d was made with another %s; `python evaluate.py --workdir %s --checkpoints "
                "%d` scores it as it was made", step, ", ".join(changed), workdir, step,
            )  # fmt: skip
            return
        run.hold(state, metrics)
        evaluator.score_step(step)

    return score


def _changed_scoring(workdir: pathlib.Path, step: int, config: Any) -> list[str]:
    """The keys by which scores of a checkpoint would not be those of the config it has."""
    path = checkpoints.config_of(workdir / "checkpoints", step)
    if path is None:
        return []
    changed = config_lib.changes(config_lib.read(path)[0], config)
    return [f"config.{key}" for key in changed if key.split(".")[0] in OF_SCORES]


def compare(real: str | pathlib.Path, fake: str | pathlib.Path, **given: Any) -> dict[str, Any]:
    """Scores the images of one folder or npz file against those of another.

    Args:
      real, fake: a folder of images in one size, or an npz file with `images` or `points`.
      given: fields of ScoreSettings; None for the default.

    Raises:
      UserError: the images cannot be read or compared.
    """
    values = {k: v for k, v in given.items() if v is not None}
    settings = config_lib.typed(ScoreSettings, values, "eval")
    check_settings(settings)
    real, fake = _alike(settings.features, unresized.load(real), unresized.load(fake))
    function = feature_function(settings.features, real.space, settings.fid_mode)
    where = mesh.batch_sharding(settings.batch_size)
    return score_folders(real, fake, function, settings, where)


def _alike(features: str, *sets: ImageSet) -> list[ImageSet]:
    """The sets with the channels that an encoder takes; else with one if all images are grey."""
    if features.startswith(ENCODER):
        channels = frozen.channels_of(features.removeprefix(ENCODER))
    else:
        channels = 1 if all(map(unresized.is_grey, sets)) else 3
    return [unresized.with_channels(images, channels) for images in sets]


def feature_function(name: str, space: Space, mode: str) -> features.FeatureFunction:
    """The feature function called `name`, which may be encoder:<workdir>.

    Raises:
      UserError: the name is unknown, or the features are for other samples.
    """
    if not name.startswith(ENCODER):
        return features.feature_function(name, space, mode)
    features.require_images(name, space)
    resize.require_mode(mode)
    encoder = frozen.load_encoder(name.removeprefix(ENCODER), space.shape)
    return features.encoder_features(encoder)


def _scorers(
    run: Sampled,
    split: str | None = None,
    cfg_scales: list[float] | None = None,
    seeds: list[int] | None = None,
    given: dict[str, Any] | None = None,
) -> list[scorer.Scorer]:
    """Scorers with the settings in `given`, and for None those in config.eval."""
    values = {**run.config.eval, **{k: v for k, v in (given or {}).items() if v is not None}}
    settings = config_lib.typed(ScoreSettings, values, "eval")
    check_settings(settings)
    cfg_scales, seeds = cfg_scales or [settings.cfg_scale], seeds or [settings.seed]
    for scale, seed in itertools.product(cfg_scales, seeds):
        dataclasses.replace(settings, cfg_scale=scale, seed=seed).check()
    needs_heldout = Need.HELDOUT in metrics.needs(settings.metrics)
    real = real_images.load(run, split, needs_heldout)
    function = feature_function(settings.features, real.reference.space, settings.fid_mode)
    return scorer.make_scorers(
        run, real.reference, real.heldout, function, settings, cfg_scales, seeds, real.inputs
    )


def _total_steps(config: Any, facts: DataFacts, images_per_step: int) -> int:
    return durations.to_steps(config.train, "total", images_per_step, facts.num_samples)
