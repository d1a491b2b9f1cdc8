"""Lists, reads and removes runs; docs/runs.md explains the output.

python scripts/runs.py list runs                           # --json for programs
python scripts/runs.py show runs/digits
python scripts/runs.py metrics runs/digits loss            # or a score; --json, --plot
python scripts/runs.py get runs/digits config.train.total_steps
python scripts/runs.py rm runs --match 'old/*'             # shows what it would remove
python scripts/runs.py rm runs --match 'old/*' --yes       # removes it
"""

import json
import logging
import pathlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from absl import flags

from drifting import cli
from drifting.core import config as config_lib
from drifting.core.errors import did_you_mean
from drifting.evaluation import record
from drifting.runs import listing, points, removal
from drifting.runs.listing import RunError

log = logging.getLogger("drifting")

JSON = flags.DEFINE_bool("json", False, "Print JSON (list, show, metrics)")
PLOT = flags.DEFINE_bool("plot", False, "Draw the metric in the terminal (metrics)")
MATCH = flags.DEFINE_string("match", None, "Which runs, by their paths in FOLDER: 'old/*' (rm)")
YES = flags.DEFINE_bool("yes", False, "Remove what would be removed (rm)")

SUMMARY = (
    "run", "method", "network", "data", "step", "loss", "best", "best_step", "best_of", "size",
    "problem",
)  # fmt: skip
BLOCKS = " ▁▂▃▄▅▆▇█"  # eighths of a line
WIDTH, HEIGHT = 64, 8  # of a plot, in characters


# --- what is printed ----------------------------------------------------------------------------


def list_runs(folder: str, as_json: bool = False) -> None:
    root = pathlib.Path(folder)
    rows = [
        {"run": run.relative_to(root).as_posix(), **listing.summarize(run)}
        for run in listing.find(root)
    ]
    if as_json:
        print(json.dumps(rows, indent=2))
    elif rows:
        print(table([{**row, "size": megabytes(row.get("bytes"))} for row in rows], SUMMARY))
    else:
        log.warning("no runs in %s", root)


def show(run: str, as_json: bool = False) -> None:
    found = listing.describe(pathlib.Path(run))
    if as_json:
        return print(json.dumps(found, indent=2))
    tables = {name: found.pop(name, []) for name in ("checkpoints", "scores")}
    facts = config_lib.flatten(found.pop("facts", {}))
    for key, value in [*config_lib.flatten(found).items(), *facts.items()]:
        print(f"{key}: {json.dumps(value)}")
    columns = {
        "checkpoints": dict.fromkeys(key for row in tables["checkpoints"] for key in row),
        "scores": dict.fromkeys(("step", *points.SCORES, *record.KEY)),
    }
    for name, rows in tables.items():
        if rows:
            print(f"\n{name}\n{table(rows, columns[name])}")


def show_metric(run: str, name: str, as_json: bool = False, as_plot: bool = False) -> None:
    path = pathlib.Path(run)
    lines, _ = points.name_lines({path.resolve().name: points.read_points(path, name)})
    if as_json:
        return print(json.dumps(lines))
    for title, values in lines.items():
        if len(lines) > 1 or as_plot:
            print(f"# {name}, {title}")
        rows = (f"{step}\t{json.dumps(value)}" for step, value in sorted(values))
        print(plot(values) if as_plot else "\n".join(rows))


def get(run: str, key: str) -> None:
    value = listing.get(pathlib.Path(run), key)
    print(value if isinstance(value, str) else json.dumps(value))


def remove(folder: str, match: str | None, yes: bool = False) -> None:
    """Shows which runs match and how large they are; removes them only if `yes`.

    Raises:
      RunError: some of them must not be removed; the others are.
    """
    if match is None:
        raise RunError("rm needs --match, such as --match 'old/*'; --match '*' is every run")
    root = pathlib.Path(folder).resolve()
    runs = {run: removal.refusal(run, root) for run in removal.matching(root, match)}
    sizes = {run: listing.size(run) for run, why in runs.items() if not why}
    if sizes:
        total = megabytes(sum(sizes.values()))
        print(f"{'removing' if yes else 'would remove'} from {root}, {total} in all:")
        rows = [{"run": r.relative_to(root), "size": megabytes(n)} for r, n in sizes.items()]
        print(table(rows, ("run", "size")))
    if yes:
        for run in sizes:
            removal.remove(run, root)
            print(f"removed {run}")
    elif sizes:
        print("nothing was removed; --yes removes these")
    if refused := [f"{run.relative_to(root)}: {why}" for run, why in runs.items() if why]:
        raise RunError(f"not to be removed: {'; '.join(refused)}")


# --- how it is printed --------------------------------------------------------------------------


def megabytes(count: int | None) -> str | None:
    return None if count is None else f"{count / 1e6:.1f} MB"


def text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.5g}" if isinstance(value, float) else " ".join(str(value).split())


def table(rows: list[dict[str, Any]], columns: Iterable[str]) -> str:
    """The rows in aligned columns, without columns that have no value."""
    columns = [name for name in columns if any(row.get(name) not in (None, "") for row in rows)]
    cells = [columns, *([text(row.get(name)) for name in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [[c.ljust(w) for c, w in zip(line, widths, strict=True)] for line in cells]
    return "\n".join("  ".join(line).rstrip() for line in lines)


def plot(values: points.Points) -> str:
    """A bar for the mean of each of at most WIDTH ranges of steps, between two labels of height.

    Raises:
      RunError: no value is finite.
    """
    finite = [(step, value) for step, value in sorted(values) if np.isfinite(value)]
    if not finite:
        raise RunError("none of the values is finite, so there is nothing to plot")
    steps, heights = np.array(finite, float).T
    count = min(WIDTH, len(set(steps)))
    span = steps[-1] - steps[0] or 1
    place = np.minimum((steps - steps[0]) * count // span, count - 1).astype(int)
    sizes = np.bincount(place, minlength=count)
    means = np.bincount(place, heights, count) / np.maximum(sizes, 1)
    low, high = means[sizes > 0].min(), means[sizes > 0].max()
    eighths = np.round((means - low) / (high - low or 1) * (8 * HEIGHT - 1)).astype(int) + 1
    eighths[sizes == 0] = 0
    lines = []
    for line in reversed(range(HEIGHT)):
        label = text(high) if line == HEIGHT - 1 else text(low) if line == 0 else ""
        lines.append(
            f"{label:>10} " + "".join(BLOCKS[np.clip(e - 8 * line, 0, 8)] for e in eighths)
        )
    lines.append(f"{'':10} step {steps[0]:.0f} to {steps[-1]:.0f}")
    if left_out := len(values) - len(finite):
        lines.append(f"{'':10} not finite and left out: {left_out}")
    return "\n".join(lines)


# --- what is asked for --------------------------------------------------------------------------

# By action: what it calls, its words, and the flags that it takes.
ACTIONS = {
    "list": (list_runs, ("FOLDER",), (JSON,)),
    "show": (show, ("RUN",), (JSON,)),
    "metrics": (show_metric, ("RUN", "NAME"), (JSON, PLOT)),
    "get": (get, ("RUN", "KEY"), ()),
    "rm": (remove, ("FOLDER",), (MATCH, YES)),
}


def main(argv):
    action, *words = argv[1:] or [""]
    if action not in ACTIONS:
        raise RunError(f"name one of {', '.join(ACTIONS)}{did_you_mean(action, ACTIONS)}")
    call, expected, allowed = ACTIONS[action]
    if len(words) != len(expected):
        raise RunError(f"{action} takes {' and '.join(expected)}, not {' '.join(words)!r}")
    given = [flag.name for flag in (JSON, PLOT, MATCH, YES) if flag.present]
    if other := sorted(set(given) - {flag.name for flag in allowed}):
        raise RunError(f"{action} takes no --{other[0]}")
    if JSON.value and PLOT.value:
        raise RunError("choose one of --json and --plot")
    call(*words, *(flag.value for flag in allowed))


if __name__ == "__main__":
    cli.run(main, takes_words=True)
