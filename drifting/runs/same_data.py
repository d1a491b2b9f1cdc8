"""A run continues on the data that it began with, wherever they lie."""

import logging
import pathlib
from collections.abc import Mapping
from typing import Any

from drifting.core import config as config_lib
from drifting.core.errors import ConfigError
from drifting.core.facts import DataFacts, LatentFacts
from drifting.runs.decoding import same_weights
from drifting.runs.workdir import read_facts, read_fingerprint
from drifting.training import checkpoints
from drifting.training.parts import Parts
from input_pipeline.decoding import DataError

log = logging.getLogger(__name__)


def require(workdir: pathlib.Path, parts: Parts, accept: bool) -> None:
    """Compares the data with the fingerprint in config.json, if the workdir holds a checkpoint.

    Args:
      accept: whether other samples of the same classes are accepted. split.json is then removed,
        to be made anew.

    Raises:
      DataError: the data are others; the message says what changed. Nothing is written.
      ConfigError: the latents are decoded by another autoencoder, or no more.
    """
    if not checkpoints.is_resumable(workdir / "checkpoints"):
        return
    config, saved = config_lib.read(workdir / "config.json")
    _require_autoencoder(workdir, saved, parts.facts.latents)
    known, now = read_fingerprint(saved), parts.facts
    if known == parts.whole.fingerprint:
        return
    if known is None and config.data.source == now.source:
        log.warning(
            "%s was written by an earlier version: whether %s still holds the same data cannot be "
            "checked this time", workdir / "config.json", now.source,
        )  # fmt: skip
        return
    before = read_facts(workdir, saved)
    found = f"{workdir} was trained on other data than {now.source} holds: {_changes(before, now)}"
    if before.class_names != now.class_names:
        raise DataError(f"{found}. Restore the data, or choose another --workdir")
    if not accept:
        raise DataError(
            f"{found}. Restore the data, choose another --workdir, or continue on the new data "
            "with --accept_new_data"
        )
    log.warning("%s; continuing on the new data", found)
    if parts.held_out is not None:
        log.warning("split.json is made anew: images trained on before may now be held out")
        (workdir / "split.json").unlink(missing_ok=True)


def _require_autoencoder(
    workdir: pathlib.Path, saved: Mapping[str, Any], now: LatentFacts | None
) -> None:
    """Raises ConfigError unless the autoencoder is the one in the contents of config.json."""
    try:
        before = read_facts(workdir, saved).latents
    except ConfigError:  # an earlier version wrote them, and decoded no latents
        return
    if before is None or (now and same_weights(before.identity, now.identity)):
        return
    if now is None:
        raise ConfigError(
            f"{workdir} was trained in the latents of the autoencoder {before.autoencoder}, and "
            f"none is named now: set config.data.autoencoder={before.autoencoder}, or choose "
            "another --workdir"
        )
    raise ConfigError(
        f"{workdir} was trained in the latents of another autoencoder than {now.autoencoder} is "
        f"now (hash {before.identity[:8]}, now {now.identity[:8]}): restore it, or choose "
        "another --workdir"
    )


def _changes(before: DataFacts, now: DataFacts) -> str:
    """How the data differ, as far as the facts about them tell."""
    changes = []
    if before.num_samples != now.num_samples:
        changes.append(f"{before.num_samples} -> {now.num_samples} samples")
    if before.class_names != now.class_names:
        gone = [name for name in before.class_names if name not in now.class_names]
        new = [name for name in now.class_names if name not in before.class_names]
        differ = f"the classes differ (gone: {gone[:6]}, new: {new[:6]})"
        changes.append(differ if gone or new else "the classes are in another order")
    elif before.class_counts != now.class_counts:
        changes.append("other numbers of samples per class")
    changes = changes or ["as many samples, but other values or labels"]
    if before.source != now.source:
        changes.append(f"the source was {before.source}")
    return ", ".join(changes)
