"""Which runs are in a folder, and what each of them says about itself; nothing is written."""

import contextlib
import json
import logging
import math
import os
import pathlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from drifting import methods
from drifting.core import config as config_lib
from drifting.core.errors import ConfigError, UserError, did_you_mean
from drifting.evaluation import metrics, record
from drifting.runs import best
from drifting.training import checkpoints, integrity, writers

log = logging.getLogger(__name__)

CONFIG, CHECKPOINTS = "config.json", "checkpoints"
NOT_SEARCHED = (CHECKPOINTS, "damaged_checkpoints")  # of a run: they hold no runs


class RunError(UserError):
    """A run, or something in it, that is not there or may not be removed."""


# --- which there are -----------------------------------------------------------------------------


def find(root: pathlib.Path) -> list[pathlib.Path]:
    """The folders at and below `root` that have a config.json or finished checkpoints.

    Links to such folders are among them; what is below a link is not searched.

    Raises:
      RunError: `root` is not a folder.
    """
    if not root.is_dir():
        raise RunError(f"{root} is not a folder; name one that holds runs")
    found = []
    for name, folders, _ in os.walk(root, onerror=_warn):
        here = pathlib.Path(name)
        if _may_be_run(here):
            found.append(here)
            folders[:] = [folder for folder in folders if folder not in NOT_SEARCHED]
        links = (here / folder for folder in folders if (here / folder).is_symlink())
        found += filter(_may_be_run, links)
    return sorted(found)


def _may_be_run(folder: pathlib.Path) -> bool:
    return os.path.lexists(folder / CONFIG) or bool(checkpoints.valid_steps(folder / CHECKPOINTS))


def is_run(folder: pathlib.Path) -> bool:
    """Whether its config.json is that of a run, or is lost or damaged next to checkpoints."""
    try:
        config_lib.read(folder / CONFIG)
    except ConfigError:
        return bool(checkpoints.valid_steps(folder / CHECKPOINTS))
    return True


def size(folder: pathlib.Path) -> int:
    """The bytes of all files in a folder. Links count, but not what they lead to.

    Raises:
      OSError: a part of it cannot be read.
    """
    total = 0
    for name, _, names in os.walk(folder, onerror=_raise_unless_removed):
        for path in (os.path.join(name, n) for n in names):
            with contextlib.suppress(FileNotFoundError):  # removed meanwhile, by a training
                total += os.lstat(path).st_size
    return total


def _raise_unless_removed(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _warn(error: OSError) -> None:
    log.warning("%s was not searched: %s", error.filename, error.strerror)


# --- what is in one ------------------------------------------------------------------------------


def summarize(run: pathlib.Path) -> dict[str, Any]:
    """What a run is, how far and how good it is, and under `problem` what is wrong with it."""
    return _collect(run, (_identity, _progress, _best, _bytes, _check))


def describe(run: pathlib.Path) -> dict[str, Any]:
    """Everything about a run; the files of its checkpoints are compared with their hashes.

    Raises:
      RunError: the folder is not that of a run.
    """
    require_run(run)
    readers = (_identity, _progress, _best, _bytes, _check, _contents, _checkpoints, _scores, _test)
    return _collect(run, readers)


def require_run(run: pathlib.Path) -> None:
    """Raises RunError if there is no run in the folder, in any condition."""
    if not _may_be_run(run):
        raise RunError(f"{run} is not the workdir of a run: it has no {CONFIG}")


def get(run: pathlib.Path, key: str) -> Any:
    """One value: of config.json, or `checkpoint.step` or a metric of the newest checkpoint.

    Raises:
      UserError: the run has no such key, or the file with it is damaged.
    """
    require_run(run)
    if key.startswith("checkpoint."):
        known = {f"checkpoint.{name}": value for name, value in _newest(run).items()}
    else:
        config, facts = config_lib.read(run / CONFIG)
        known = config_lib.flatten({"config": config, **facts})
    if key not in known:
        raise RunError(
            f"{run} has no {key}{did_you_mean(key, known)}; its keys are config.<key>, "
            "checkpoint.<metric>, checkpoint.step, and the facts that `show` prints"
        )
    return known[key]


def _newest(run: pathlib.Path) -> dict[str, Any]:
    steps = checkpoints.valid_steps(run / CHECKPOINTS)
    if not steps:
        raise RunError(f"{run} has no finished checkpoint")
    return {"step": steps[-1], **checkpoints.saved_metrics(run / CHECKPOINTS, steps[-1])}


def _collect(
    run: pathlib.Path, readers: Iterable[Callable[[pathlib.Path], dict[str, Any]]]
) -> dict[str, Any]:
    """What the readers find. What one of them cannot read is said under `problem`."""
    found, wrong = {}, []
    for read in readers:
        try:
            found |= read(run)
        except UserError as error:
            wrong.append(str(error))
        except OSError as error:
            wrong.append(f"{error.filename}: {error.strerror}")
    return found | ({"problem": "; ".join(dict.fromkeys(wrong))} if wrong else {})


def _identity(run: pathlib.Path) -> dict[str, Any]:
    config = config_lib.flatten(config_lib.read(run / CONFIG)[0])
    keys = {"method": "method.name", "network": "model.name", "data": "data.source"}
    return {name: config.get(key) for name, key in keys.items()}


def _progress(run: pathlib.Path) -> dict[str, Any]:
    """The last step, of the log or of a checkpoint, and the last loss."""
    rows = writers.read_metrics(run / "metrics.jsonl")
    steps = [*(row["step"] for row in rows), *checkpoints.valid_steps(run / CHECKPOINTS)]
    losses = [row["loss"] for row in rows if "loss" in row]
    return {"step": max(steps, default=None), "loss": losses[-1] if losses else None}


def _best(run: pathlib.Path) -> dict[str, Any]:
    """The best score, its step and what it is: of a checkpoint's validation, or of the record."""
    config, _ = config_lib.read(run / CONFIG)
    score = methods.find(config.method.name).best_score
    if score is None:
        return _best_recorded(record.read(run))
    found = best.find(run, score, _newest_config(run) if score.evaluated else config)
    if found is None:
        return {}
    return {"best": found.value, "best_step": found.step, "best_of": found.what}


def _newest_config(run: pathlib.Path) -> Any:
    """The config that the newest checkpoint was made with; that of the workdir without any."""
    steps = checkpoints.valid_steps(run / CHECKPOINTS)
    own = checkpoints.config_of(run / CHECKPOINTS, steps[-1]) if steps else None
    return config_lib.read(own or run / CONFIG)[0]


def _best_recorded(rows: Sequence[record.Row]) -> dict[str, Any]:
    """The lowest score of those measured as the last one was; others are not comparable."""
    columns = [metric.ranks_by for metric in metrics.known().values() if metric.ranks_by]
    for column in columns:
        scored = [row for row in rows if None not in (row["step"], row[column])]
        scored = [row for row in scored if math.isfinite(row[column])]
        if scored:
            return _lowest(scored, column)
    return {}


def _lowest(scored: Sequence[record.Row], column: str) -> dict[str, Any]:
    last = scored[-1]
    means = record.mean_by_step(scored, last, column)
    value, step = min((value, step) for step, value in means.items())
    what = f"{column}, {last['features']}, {last['num_samples']} samples"
    settings = {
        tuple(row[k] if row[k] is not None else "" for k in record.SETTING) for row in scored
    }
    others = len(settings) - 1
    return {
        "best": value,
        "best_step": step,
        "best_of": what + (f" (other settings: {others})" if others else ""),
    }


def _bytes(run: pathlib.Path) -> dict[str, Any]:
    return {"bytes": size(run)}


def _check(run: pathlib.Path) -> dict[str, Any]:
    """Raises RunError for what is wrong with checkpoints or lines of the log."""
    folder = run / CHECKPOINTS
    misnamed = checkpoints.misnamed(folder).items()
    wrong = [f"checkpoint {name} is ignored: {why}" for name, why in misnamed]
    steps = checkpoints.valid_steps(folder)
    if not steps:
        wrong.append("no finished checkpoint")
    for step in steps:
        try:
            checkpoints.saved_metrics(folder, step)
        except checkpoints.CheckpointError as error:
            wrong.append(str(error))
    if damaged := writers.count_damaged(run / "metrics.jsonl"):
        wrong.append(f"damaged lines in metrics.jsonl: {damaged}")
    if wrong:
        raise RunError("; ".join(wrong))
    return {}


def _contents(run: pathlib.Path) -> dict[str, Any]:
    config, facts = config_lib.read(run / CONFIG)
    return {"config": config.to_dict(), "facts": facts}


def _checkpoints(run: pathlib.Path) -> dict[str, Any]:
    """A row of step, metrics and damage for each finished checkpoint."""
    rows = []
    for step in checkpoints.valid_steps(run / CHECKPOINTS):
        damage = integrity.find_damage(run / CHECKPOINTS / str(step))
        values = (
            {"damage": damage} if damage else checkpoints.saved_metrics(run / CHECKPOINTS, step)
        )
        rows.append({"step": step, **values})
    return {"checkpoints": rows}


def _scores(run: pathlib.Path) -> dict[str, Any]:
    rows = record.read(run)
    return {"scores": [{k: v for k, v in row.items() if v is not None} for row in rows]}


def _test(run: pathlib.Path) -> dict[str, Any]:
    """The scores on the test split of a run that has them."""
    path = run / "test.json"
    try:
        return {"test": json.loads(path.read_bytes())}
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path} is damaged ({error}); restore it from a copy") from error
