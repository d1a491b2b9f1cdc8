"""Builds the parts of a run from its config: data, frozen networks, method, schedule, mesh."""

import dataclasses
import logging
from collections.abc import Sequence
from typing import Any

from drifting import methods
from drifting.core import config as config_lib
from drifting.core.facts import DataFacts
from drifting.evaluation.settings import ScoreSettings
from drifting.runs import frozen as frozen_lib
from drifting.training import mesh, schedule
from drifting.training.parts import Parts
from input_pipeline import sources, splits
from input_pipeline.decoding import DataError
from input_pipeline.endless import Endless
from input_pipeline.image_set import DataSet, ImageSet
from input_pipeline.sources import latents
from input_pipeline.space import Latents
from input_pipeline.streaming import Stream

log = logging.getLogger(__name__)


def build(config: Any) -> Parts:
    """The parts of a config; nothing is written.

    Raises:
      UserError: the config is invalid, or something that it names is missing.
    """
    config = config_lib.resolve(config)
    config_lib.typed(sources.Settings, config.data, "data").check()
    config_lib.typed(ScoreSettings, config.eval, "eval").check()
    whole = open_stream(config) if config.data.streaming else load_images(config)
    data, held_out = _divide(config, whole)
    facts = facts_of(data)
    _warn_of_empty_classes(facts)
    frozen = frozen_lib.load(config, facts.space.shape)
    if decoder := frozen_lib.load_decoder(config, facts.space):
        facts = dataclasses.replace(facts, space=decoder.space, latents=decoder.latents)
        frozen["autoencoder"] = decoder
    method = methods.create(config, facts, frozen)
    return Parts(
        config=config,
        whole=whole,
        data=data,
        held_out=held_out,
        facts=facts,
        method=method,
        frozen=frozen,
        schedule=schedule.make(config.train, method.images_per_step, data.num_samples),
        mesh=mesh.mesh_of(config, method),
    )


def load_images(
    config: Any, split: str | None = None, class_names: Sequence[str] | None = None
) -> ImageSet:
    """A split of config.data.source in the shape of the config; the training split if None.

    Of the training split only config.data.limit samples, if that is set.

    Args:
      class_names: the classes that a run was trained on; labels are places in them.

    Raises:
      DataError: missing or unusable data, or classes of other names.
    """
    data = config.data
    found = sources.load(
        data.source,
        split or data.split,
        image_size=data.image_size,
        channels=data.channels,
        fit=data.fit,
        on_corrupt=data.on_corrupt,
        latent_scale=data.latent_scale,
        flip=data.flip,
    )
    return _as_trained(found, data, class_names)


def load_real_images(
    config: Any, split: str | None = None, class_names: Sequence[str] | None = None
) -> ImageSet:
    """As `load_images`; of latents, the images that they were made from.

    Raises:
      DataError: as `load_images`, or the latents do not say what they were made from.
    """
    data = config.data
    if sources.kind_of(data.source) is not Latents:
        return load_images(config, split, class_names)
    made = latents.encoded(data.source)
    if made is None:
        raise DataError(
            f"{data.source} does not say which images its latents are of, so samples have nothing "
            "to be scored against: encode the images with scripts/encode_latents.py, or write "
            "samples with sample.py and score them with `python evaluate.py --real ... --fake ...`"
        )
    found = opened = sources.open_rows(made.source, split or data.split, **made.options)
    encoded = made.splits.get(found.split)
    if opened.streamed:
        found = sources.load(made.source, found.split, **made.options)
    if encoded and encoded.fingerprint != opened.fingerprint:  # opened as for encoding
        log.warning(
            "%s holds other images or labels than were encoded in %s; the scores compare with "
            "those that it holds now", made.source, data.source,
        )  # fmt: skip
    return _as_trained(found, data, class_names)


def _as_trained(found: ImageSet, data: Any, class_names: Sequence[str] | None) -> ImageSet:
    """The part of a split that config.data asks for, with the labels of a run.

    The rows of a limit depend on labels alone: of latents and of their images they are the same.
    """
    if data.limit and found.split == data.split:
        found = splits.limit(found, data.limit)
    return found if class_names is None else found.in_classes(class_names)


def open_stream(config: Any) -> Stream | Endless:
    """config.data.source as a stream, which is read during training."""
    data = config.data
    return sources.open_stream(
        data.source,
        data.split,
        image_size=data.image_size,
        channels=data.channels,
        fit=data.fit,
        on_corrupt=data.on_corrupt,
        latent_scale=data.latent_scale,
        flip=data.flip,
        seed=config.seed,
        threads=data.read_threads,
    )


def facts_of(data: DataSet) -> DataFacts:
    """The facts about the training data that a method needs.

    The mean and the standard deviation of a stream are those of the samples that represent it.
    """
    mean, std = splits.channel_statistics(data.representative())
    return DataFacts(
        space=data.space,
        class_names=data.class_names,
        class_counts=data.class_counts,
        num_samples=data.num_samples,
        mean=tuple(map(float, mean)),
        std=tuple(map(float, std)),
        source=data.source,
        streamed=data.streamed,
    )


def _warn_of_empty_classes(facts: DataFacts) -> None:
    counts = facts.class_counts or ()
    empty = [name for name, count in zip(facts.class_names, counts, strict=False) if not count]
    if empty:
        log.warning(
            "%s: %d of %d classes have no samples to train on, %s the first of them; are the "
            "labels numbered from 0?", facts.source, len(empty), facts.num_classes, empty[0],
        )  # fmt: skip


def _divide(config: Any, whole: DataSet) -> tuple[DataSet, ImageSet | None]:
    """The part to train on, and the part held out for validation, if any."""
    if not config.data.num_val:
        return whole, None
    return splits.make(whole, config.data.num_val, config.data.split_seed).apply(whole)
