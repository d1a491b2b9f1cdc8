"""The real images of a score: those to compare with, and those that samples are made from."""

import dataclasses
import logging
from typing import NamedTuple

import numpy as np

from drifting.core.method import SOURCE, TARGET
from drifting.runs.build import load_real_images
from drifting.runs.sampled import Sampled
from input_pipeline.decoding import DataError, NoSplit
from input_pipeline.image_set import ImageSet

log = logging.getLogger(__name__)


class RealImages(NamedTuple):
    """The real images of a score.

    Attributes:
      reference: those that samples are compared with; of a translator, the target domain.
      inputs: those that samples are made from; of a translator, the source domain. None if samples
        are made from labels.
      heldout: images outside the reference, or None.
    """

    reference: ImageSet
    inputs: ImageSet | None
    heldout: ImageSet | None


def load(run: Sampled, split: str | None, needs_heldout: bool) -> RealImages:
    """The real images of a run's scores.

    Args:
      split: of the data; None for the training split, but for images not trained on where samples
        are made from images. Translators take the training split if there are no others.

    Raises:
      DataError: missing or unusable data, or a translator's domain without images.
    """
    images = _split(run, split)
    if run.data_fingerprint and images.split == run.config.data.split and not run.decoder:
        _warn_of_other_data(run, images)
    heldout = _heldout(run, images) if needs_heldout else None
    if not run.translates:
        return RealImages(images, images if run.of_images else None, heldout)
    source, target = domain(images, SOURCE), domain(images, TARGET)
    log.info(
        "scores of split %r: %d images of %r, translated, against %d of %r",
        images.split, len(source), source.class_names[0], len(target), target.class_names[0],
    )  # fmt: skip
    return RealImages(target, source, heldout)


def domain(images: ImageSet, label: int) -> ImageSet:
    """The images of one of a translator's domains, as a set of one class.

    Raises:
      DataError: there is none.
    """
    found = images.take(np.flatnonzero(images.labels == label))
    name = images.class_names[label]
    if not len(found):
        raise DataError(
            f"{images.source}, split {images.split!r} has no images of {name!r}: choose another "
            "split (--split)"
        )
    return dataclasses.replace(found, labels=np.zeros_like(found.labels), class_names=(name,))


def _split(run: Sampled, split: str | None) -> ImageSet:
    data, names = run.config.data, run.facts.class_names
    if not run.of_images or split:
        return load_real_images(run.config, split, names)
    if not run.translates:
        return load_real_images(run.config, data.test_split, names)
    try:
        images = load_real_images(run.config, data.test_split, names)
        if all(images.class_counts[label] for label in (SOURCE, TARGET)):
            return images
        reason = f"split {data.test_split!r} of {data.source} lacks a domain"
    except NoSplit as error:
        reason = str(error)
    log.info("scores are of the images that were trained on: %s", reason)
    return load_real_images(run.config, None, names)


def _warn_of_other_data(run: Sampled, images: ImageSet) -> None:
    if images.fingerprint != run.data_fingerprint:
        log.warning(
            "%s holds other samples or labels than %s was trained on; the scores compare with "
            "those that it holds now", images.source, run.workdir,
        )  # fmt: skip


def _heldout(run: Sampled, reference: ImageSet) -> ImageSet | None:
    """Real images outside the reference, or None if the source has none."""
    config = run.config
    if reference.split == config.data.test_split:
        return None
    try:
        if run.translates:
            images = load_real_images(config, config.data.test_split, run.facts.class_names)
            return domain(images, TARGET)
        return load_real_images(config, config.data.test_split)
    except DataError as error:
        log.info("no held-out images: %s", error)
        return None
