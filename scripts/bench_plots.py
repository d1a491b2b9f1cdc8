"""Times the steps of one run with and without live plots, by turns, and prints JSON.

    python scripts/bench_plots.py --config configs/meanflow_digits.py

Plots are drawn during every second `block` steps. Times are those that training logs as step_ms.
The first block, in which the drawing process starts, does not count.
"""

import dataclasses
import json
import pathlib
import resource
import statistics
import tempfile

import timing
from absl import flags
from ml_collections import config_flags

from drifting import cli
from drifting.core import durations
from drifting.runs.build import build
from drifting.training import backend, loop, writers
from drifting.training.schedule import Schedule

CONFIG = config_flags.DEFINE_config_file("config", None, "Experiment file")
BLOCK = flags.DEFINE_integer("block", 500, "Steps with plots, and steps without", lower_bound=100)
ROUNDS = flags.DEFINE_integer("rounds", 6, "Blocks of each kind", lower_bound=1)


class ByTurns(Schedule):
    """A schedule that plots in every second block."""

    def plots_in(self, step):
        """Whether there are plots in the block of the step after this one."""
        return step // BLOCK.value % 2 == 0

    def next_stop(self, step):
        plot = self.plot if self.plots_in(step) else 0
        return Schedule.next_stop(dataclasses.replace(self, plot=plot), step)

    def plot_due(self, step):
        return self.plots_in(step - 1) and super().plot_due(step)


def prepared(config):
    """The config of a run that only trains, logs and plots, with a block that does not count."""
    total = (2 * ROUNDS.value + 1) * BLOCK.value
    values = {f"train.{name}_steps": total for name in ("total", "sample", "checkpoint")}
    values |= {"train.log_steps": config.train.plot_steps, "train.tensorboard": False}
    config.update_from_flattened_dict(values)
    durations.choose_units(config, values)
    return config


def step_times(schedule, rows):
    """The milliseconds of a step in each window with plots, and in each without.

    The first window of a block is left out: the last drawing of the block before may go on in it.
    """
    found = {True: [], False: []}
    for row in rows:
        last = row["step"] - 1  # of the window, counted from 0
        if last >= BLOCK.value and last % BLOCK.value >= schedule.log:
            found[schedule.plots_in(last)].append(row["step_ms"])
    return found[True], found[False]


def main(_):
    config = prepared(CONFIG.value)
    backend.configure(config.deterministic)
    parts = build(config)
    schedule = ByTurns(**dataclasses.asdict(parts.schedule))
    with tempfile.TemporaryDirectory() as folder:
        loop.train(dataclasses.replace(parts, schedule=schedule), pathlib.Path(folder))
        rows = writers.read_metrics(pathlib.Path(folder, "metrics.jsonl"))
    with_plots, without = step_times(schedule, [row for row in rows if "step_ms" in row])
    drawing = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = {
        "config": flags.FLAGS["config"].config_filename,
        **timing.machine(),
        "plot_steps": schedule.plot,
        "windows": len(without),
        "step_ms_with_plots": round(statistics.mean(with_plots), 4),
        "step_ms_without": round(statistics.mean(without), 4),
        "median_ms_with_plots": round(statistics.median(with_plots), 4),
        "median_ms_without": round(statistics.median(without), 4),
        "rise": round(statistics.mean(with_plots) / statistics.mean(without) - 1, 4),
        "cpu_seconds_of_drawing": round(drawing.ru_utime + drawing.ru_stime, 2),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    cli.run(main)
